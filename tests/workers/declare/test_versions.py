"""What of a task's code makes batches new, and what makes profiles show something else."""

import pytest

from workers.declare import versions
from workers.declare.versions import versions_of

SOURCE = '''"""What customers buy."""

from workers.declare import Asset, Sum, Task, rows
from workers.tasks import _money

RATE = 100  # cents


def cents(prices):
    """Return prices in cents."""
    return prices * RATE


def contributions(items):
    return {"spent": rows(items["customer"], cents(items["price"]))}


def grade(spent):
    return "gold" if spent > 1000 else "none"


def derive(profile):
    return {"grade": grade(profile["spent"])}


def unused():
    return 1


task = Task(item=Order, fields={"spent": Sum()}, contributions=contributions, derive=derive)
asset = Asset(name="shop", description=__doc__, template="orders/{partition}/")
'''
BEFORE = versions_of(SOURCE)


def changed(*replacements):
    source = SOURCE
    for old, new in replacements:
        assert old in source
        source = source.replace(old, new)
    return versions_of(source)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# cents", "# a hundred cents"),
        ('"""Return prices in cents."""', '"""Return cents."""'),
        ("prices * RATE", "(\n        prices\n        * RATE\n    )"),
        ("return 1", "return 2"),
        ('name="shop"', 'name="store"'),
        ("What customers buy", "Who buys what"),
        ("derive=derive)", "derive=derive, example={})"),
        ("import Asset, Sum, Task, rows", "import Asset, Schedule, Sum, Task, rows"),
        ("import Asset, Sum, Task, rows", "import rows, Task, Asset, Sum"),
    ],
)
def test_what_decides_nothing_is_no_new_code(old, new):
    assert changed((old, new)) == BEFORE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 100", "RATE = 1000"),
        ("prices * RATE", "prices + RATE"),
        ("RATE = 100", "RATE = 100.0"),
        ("Sum()", "Sum(float)"),
        ("item=Order", "item=Sale"),
    ],
)
def test_what_items_say_makes_batches_new_and_shows_nothing_else(old, new):
    after = changed((old, new))
    assert after.batches != BEFORE.batches
    assert after.profiles == BEFORE.profiles


@pytest.mark.parametrize(("old", "new"), [("> 1000", "> 2000"), ('{"grade":', '{"class":')])
def test_what_profiles_show_leaves_batches_as_they_are(old, new):
    after = changed((old, new))
    assert after.batches == BEFORE.batches
    assert after.profiles != BEFORE.profiles


def test_names_inside_functions_are_no_names_of_the_file():
    """Two functions with a variable of one name have nothing to do with each other."""
    total = ('return {"grade": grade(profile["spent"])}', 'total = 1\n    return {"grade": total}')
    same = ('return {"spent"', 'total = 2\n    return {"spent"')
    before, after = changed(same, total), changed(same, total, ("total = 1", "total = 3"))
    assert after.batches == before.batches
    assert after.profiles != before.profiles


def test_a_name_that_a_function_sets_for_the_file_is_one_of_the_file():
    uses = ("prices * RATE", "prices * HIDDEN")
    sets = ("def unused():\n    return 1", "def unused():\n    global HIDDEN\n    HIDDEN = 1")
    assert changed(uses, sets).batches != changed(uses, sets, ("HIDDEN = 1", "HIDDEN = 2")).batches


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("prices * RATE", "prices + RATE", {"cents"}),
        ("RATE = 100", "RATE = 1000", {"RATE"}),
        ("Sum()", "Sum(float)", {"fields"}),
        ("Sum, Task, rows", "Max as Sum, Task, rows", {"the imports"}),
        ("RATE = 100", "print()\nRATE = 100", {"the statements outside of functions"}),
    ],
)
def test_the_parts_that_differ_have_the_names_that_the_file_gives_them(old, new, names):
    assert differing(BEFORE.parts_of_batches, changed((old, new)).parts_of_batches) == names


def test_what_profiles_show_has_parts_too():
    after = changed(("> 1000", "> 2000"))
    assert after.parts_of_batches == BEFORE.parts_of_batches
    assert differing(BEFORE.parts_of_profiles, after.parts_of_profiles) == {"grade"}


def differing(before, after):
    return {name for name in before | after if before.get(name) != after.get(name)}


def test_arguments_by_place_are_those_by_name():
    by_name = ("item=Order, fields=", "contributions=contributions, derive=derive")
    by_place = ("Order, ", "contributions, derive")
    assert changed(*zip(by_name, by_place, strict=True)) == BEFORE


def test_a_task_that_is_made_in_another_way_counts_whole():
    made = "task = make(contributions, derive)"
    call = SOURCE[SOURCE.index("task = ") : SOURCE.index("\nasset")]
    first, second = changed((call, made)), changed((call, made), ("return 1", "return 2"))
    assert first.batches != second.batches
    assert first.profiles != second.profiles


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A module of the project that the task's file imports."""
    file = tmp_path / "_money.py"
    real = versions._file_of
    monkeypatch.setattr(
        versions, "_file_of", lambda name: file if name == "workers.tasks._money" else real(name)
    )
    return file


def test_a_helper_of_the_project_counts_as_the_code_of_whatever_uses_it(helper):
    uses = ("prices * RATE", "_money.cents(prices)")
    helper.write_text("def cents(prices):\n    return prices * 100\n")
    before = changed(uses)
    helper.write_text("def cents(prices):\n    # whole ones\n    return prices * 100\n")
    assert changed(uses) == before
    helper.write_text("def cents(prices):\n    return prices * 1000\n")
    after = changed(uses)
    assert after.batches != before.batches
    assert after.profiles == before.profiles
    assert differing(before.parts_of_batches, after.parts_of_batches) == {"workers/tasks/_money.py"}


def test_a_helper_that_imports_itself_in_a_circle_is_read_once(helper):
    helper.write_text("from workers.tasks import _money\n")
    assert changed(("prices * RATE", "_money.cents(prices)"))
