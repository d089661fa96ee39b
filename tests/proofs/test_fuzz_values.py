from tests.proofs.fuzz_values import fuzz_values


def test_of_damaged_json_every_byte_is_accounted_for_however_it_is_cut():
    counts = fuzz_values(blocks=600, seed=1)
    assert counts["blocks"] == 600
    assert counts["values"] > 1_000
    assert counts["broken"] > 50
    assert (counts["unaccounted"], counts["differing"]) == (0, 0)
