"""What is late costs what it concerns. A year of days: `python -m tests.proofs.late`."""

from tests.proofs.late import play


def test_as_many_documents_are_written_as_profiles_are_concerned(pipeline):
    seen = play(pipeline, days=20, users=300, events=60, seed=1)
    assert [each.change for each in seen if not each.is_match] == []
    assert [each.written for each in seen] == [each.concerned for each in seen]
