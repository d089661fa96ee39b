"""A task's files are changed between two runs: what is done again, by S3's and MongoDB's count."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pipeline import Pipeline
from tests.support.requests import count_reads
from tests.support.written import count_written
from workers import tasks
from workers.declare import versions

DAY = "2026-01-01"
MODULES = ("shop", "money", "grades")
SHOP = '''
import msgspec

from workers.declare import Asset, Partitions, Sum, Task, rows
from workers.tasks import grades, money


class Order(msgspec.Struct):
    customer: str
    price: int


def contributions(orders):
    """Add up what customers spend."""
    return {"spent": rows(orders["customer"], money.cents(orders["price"]))}


def derive(profile):
    return {"grade": grades.grade(profile["spent"])}


task = Task(item=Order, fields={"spent": Sum()}, contributions=contributions, derive=derive)
asset = Asset(
    name="shop",
    description="What customers spend.",
    partitions=Partitions(start="2026-01-01"),
    template="orders/{partition}/",
)
'''
MONEY = "def cents(prices):\n    return prices * 100\n"
GRADES = 'def grade(spent):\n    return "gold" if spent > 1000 else "none"\n'


@dataclass
class Shop:
    """An asset whose files are changed, and what its last run took."""

    pipeline: Pipeline
    folder: Path
    reads: int = 0
    writes: int = 0

    def write(self, module: str, source: str) -> None:
        (self.folder / f"{module}.py").write_text(source)

    def change(self, module: str, old: str, new: str) -> None:
        """Change a file as somebody does who then starts the process anew."""
        source = (self.folder / f"{module}.py").read_text()
        assert old in source
        self.write(module, source.replace(old, new))
        self.load()

    def load(self) -> None:
        forget()
        importlib.invalidate_caches()
        importlib.import_module("workers.tasks.shop")

    def run(self) -> dict:
        """Run both days; return the summary."""
        store = self.pipeline.store
        with count_reads(store, "orders/") as read, count_written(self.pipeline.profiles) as made:
            summary = self.pipeline.run(DAY, "2026-01-02")
        self.reads, self.writes = len(read), made.total
        assert self.pipeline.verify().match
        return summary

    def shown(self, customer: str) -> tuple[int, str]:
        profile = self.pipeline.profile(customer)
        return profile["spent"], profile["grade"]


def forget() -> None:
    versions._file_of.cache_clear()  # each test has files of its own
    for module in MODULES:
        sys.modules.pop(f"workers.tasks.{module}", None)
        tasks.__dict__.pop(module, None)


@pytest.fixture
def shop(pipeline, tmp_path, monkeypatch):
    """Two days of two orders each, folded."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of files that change within a second
    shop = Shop(pipeline, tmp_path)
    for module, source in zip(MODULES, (SHOP, MONEY, GRADES), strict=True):
        shop.write(module, source)
    shop.load()
    shop.pipeline = Pipeline(
        pipeline.store, pipeline.database, pipeline.ledger, sys.modules["workers.tasks.shop"].asset
    )

    for number, day in enumerate((DAY, "2026-01-02")):
        orders = f'{{"customer": "ann", "price": 7}}\n{{"customer": "bo{number}", "price": 2}}\n'
        pipeline.store.put(f"orders/{day}/a.jsonl", orders.encode())
    shop.run()
    assert shop.reads >= 2
    assert shop.writes == 3
    assert shop.shown("ann") == (1400, "gold")
    yield shop
    forget()


UNCHANGED = [
    ("shop", "def derive", "# What readers see.\n\n\ndef derive"),
    ("shop", "Add up what customers spend", "Sum orders"),
    ("shop", 'description="What customers spend."', 'description="Spending."'),
    ("shop", "return {", "return  {"),
    ("money", "return prices", "# Whole ones.\n    return prices"),
    ("grades", "    return", '    """Return how dear a customer is."""\n    return'),
]


@pytest.mark.parametrize(("module", "old", "new"), UNCHANGED)
def test_how_files_are_written_reads_no_block_and_writes_no_profile(shop, module, old, new):
    shop.change(module, old, new)
    summary = shop.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 2)
    assert (shop.reads, shop.writes) == (0, 0)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("shop", 'profile["spent"]', 'profile["spent"] - 1000'),
        ("grades", "> 1000", "> 2000"),
    ],
    ids=["derive itself", "what it imports"],
)
def test_what_profiles_show_is_changed_without_reading_a_block(shop, module, old, new):
    shop.change(module, old, new)
    summary = shop.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 2)
    assert (shop.reads, shop.writes) == (0, 3)
    assert shop.shown("ann") == (1400, "none")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("shop", 'orders["price"])', 'orders["price"] * 10)'),
        ("money", "* 100", "* 1000"),
    ],
    ids=["contributions themselves", "what they import"],
)
def test_what_items_say_is_read_again_from_the_blocks(shop, module, old, new):
    shop.change(module, old, new)
    summary = shop.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 0)
    assert shop.reads >= 2
    assert shop.shown("ann") == (14000, "gold")


def test_a_day_that_is_run_again_unchanged_writes_no_document(shop):
    summary = shop.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 2)
    assert (shop.reads, shop.writes) == (0, 0)
