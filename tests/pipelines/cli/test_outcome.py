"""How a person reads what became of a run: lines that fit, commands that can be pasted."""

import io

import pytest
from rich.console import Console

from pipelines.cli import console, outcome
from pipelines.cli.outcome import print_sentences, print_summary
from workers.assets import assets

WHY = (
    "1998-04-05: more items could not be used than are tolerated (20, or 1.00%), so nothing of "
    "1998-04-05 is folded: 50 of 51 items of 1998-04-05 (50 dead letters). Most frequent: 50 x "
    "Expected `str`, got `int` - at `$.user`. `fanfold dead-letters user_profiles --partition "
    "1998-04-05` lists them; once the cause is mended, `fanfold redrive user_profiles --partition "
    "1998-04-05` runs them again"
)


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns; call it for the lines on it."""
    terminal = Console(
        width=80, file=io.StringIO(), force_terminal=True, color_system=None, soft_wrap=True
    )
    monkeypatch.setattr(console, "out", terminal)
    monkeypatch.setattr(outcome, "out", terminal)
    return lambda: terminal.file.getvalue().splitlines()


def test_a_failure_stands_in_lines_that_fit_with_commands_that_can_be_pasted(screen):
    print_sentences([WHY])
    lines = screen()
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines if line.strip().startswith("fanfold")] == [
        "fanfold dead-letters user_profiles --partition 1998-04-05",
        "fanfold redrive user_profiles --partition 1998-04-05",
    ]
    assert "    this lists them:" in lines
    assert "    once the cause is mended, this runs them again:" in lines


def test_no_word_of_a_failure_is_lost_but_for_quotes_of_commands(screen):
    print_sentences([WHY])
    said = " ".join(" ".join(screen()).split())
    for word in WHY.replace("`fanfold", "fanfold").replace("05`", "05").split():
        assert word.rstrip(";.") in said


def test_a_row_of_a_number_that_is_zero_is_left_out(screen):
    numbers = {"items": 3, "items_used": 3, "dead_letters": 0, "unread_parts": 0, "seconds": 1.25}
    summary = {"asset": "user_profiles", "runs": ["a-run"], "remarks": [], **numbers}
    print_summary(summary, assets()["user_profiles"])
    names = [line.rsplit(maxsplit=1)[0].strip() for line in screen()[1:4]]
    assert names == ["items", "items used", "seconds"]
