"""Mistakes in a file of workers/tasks/, made in the one that docs/your-own-asset.md shows."""

import importlib
import sys

import msgspec
import pytest

from tests.support.pipeline import Pipeline
from tests.test_your_own_asset import OBSERVING, TYPED, with_derive
from workers import tasks
from workers.assets import assets
from workers.declare.task import code_of, load_task
from workers.errors import Refused

NAME = "customer_profiles"
DAY = "2024-05-01"


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """Return a way to declare a file as the only one of workers/tasks/; it returns its asset."""

    def declare(text, name=NAME):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return assets()[name]

    monkeypatch.setattr(tasks, "__path__", [str(tmp_path)])
    assets.cache_clear()
    yield declare
    assets.cache_clear()
    for name in (NAME, "product_prices"):
        sys.modules.pop(f"workers.tasks.{name}", None)


@pytest.fixture
def observing(declared):
    """Declare the document's asset that observes; return its task."""
    declared(OBSERVING, "product_prices")
    return load_task("product_prices")


def changed(old, new):
    """Return the document's file, with derive, with something in it replaced."""
    text = with_derive().replace("Time, rows", "Time, Tolerance, rows")
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("text", [TYPED, with_derive()], ids=["typed", "with derive"])
def test_the_file_of_the_document_loads(declared, text):
    asset = declared(text)
    assert (asset.name, asset.task) == (NAME, NAME)
    assert asset.description.startswith("What each customer buys")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # contributions
        ('"orders": rows', '"visits": rows', "contributes to 'visits'; its fields are orders, "),
        ('orders["price"]', 'orders["cost"]', "asks for 'cost'; the items have customer, product"),
        ("    return {\n", "    {\n", "returns NoneType; it has to return rows for each field"),
        (
            "rows(customer),",
            "customer,",
            "'orders' need the columns profile, value and have Series",
        ),
        (
            ', key=orders["product"]',
            "",
            "'products' need the columns profile, key, value and have the columns profile, value",
        ),
        # fields
        ('"orders": Sum()', '"orders": Sum', "the field 'orders' is .*; write it like Sum()"),
        ('"orders": Sum()', '"all orders": Sum()', "'all orders' cannot name a field"),
        ("Max(datetime)", "Max(list)", "a field holds int, bool, datetime, float or str"),
        # derive
        ('profile["spent_cents"]', 'profile["spent"]', "derive fails.*'spent'.*spent_cents"),
        (
            'max(profile["orders"], 1)',
            'profile["orders"]',
            "derive fails.*division by zero.*has to work for every one",
        ),
        ('return {"average_cents"', 'return 5, {"average_cents"', "derive fails"),
        # asset
        (f'name="{NAME}"', 'name="customers"', "and names it 'customers'"),
        ("asset = Asset", "mine = Asset", "needs `asset = Asset.*and has none"),
        ("task = Task", "mine = Task", "has no `task = Task"),
        ("{partition}", "{day}", "{day} is none of partition, YYYY"),
        ("dt={partition}", "all", "does not say the day, month, year"),
        ('"2024-01-01"', '"2024-1-1"', "'2024-1-1' is not a partition"),
        ("template=", "tempalte=", "Unexpected keyword argument 'tempalte'"),
        (
            'orders["price"]',
            "orders.cost",
            f"no attribute 'cost'; {NAME}.py:23 in contributions: cents = ",
        ),
        ('orders["price"]', 'order["price"]', "NameError: name 'order' is not defined"),
        (
            '(orders["price"] * 100).round().astype("int64")',
            'orders["price"]',
            "contributions to 'spent_cents' have a wrong type",
        ),
        (
            '(orders["price"] * 100).round().astype("int64")',
            'orders["product"]',
            "'spent_cents' need whole numbers as values, not string",
        ),
        (
            '(customer, orders["ordered_at"])',
            '(customer, pd.to_datetime(orders["ordered_at"], unit="ms"))',
            "'last_order' need the milliseconds of a Time as values, not datetime64",
        ),
        ('key=orders["product"]', 'key=orders["price"]', "'products' have a wrong type"),
        ("(msgspec.Struct)", "", "Order'> is no msgspec.Struct"),
        (
            "profile: Document) -> Document:\n",
            "profile: Document) -> Document:\n    return {'_id': 1}\n",
            "derive makes '_id'",
        ),
        (
            "profile: Document) -> Document:\n",
            "profile: Document) -> Document:\n    return {'a': {1}}\n",
            "derive fails.*cannot encode",
        ),
        ('every="day"', 'every="week"', "every day or every hour, not every 'week'"),
        ("template=", 'format="cvs", template=', "'cvs' is no format"),
        (
            "template=",
            'tolerance=Tolerance(rate="1%"), template=',
            "Expected `float`, got `str`.*tolerance.rate",
        ),
        (
            '    template="orders/dt={partition}/",\n',
            "",
            "'customer_profiles' needs a template, such as 'events/dt={partition}/', or a source",
        ),
        (
            "    template=",
            '    source="user_profiles",\n    template=',
            "'customer_profiles' has a template and a source; .* remove the other",
        ),
        ('    template="orders/dt={partition}/"', '    source="orders"', "'orders' is no asset"),
        # the file
        ("import pandas", "import pandsa", "cannot be loaded: .*No module named 'pandsa'"),
        ("price: float\n", "price: flaot\n", "cannot be loaded: .*'flaot' is not defined"),
        ("asset = Asset(", "asset = Asset((", r"cannot be loaded: .*line \d+"),
    ],
)
def test_a_mistake_is_named_with_its_file_when_the_definitions_load(declared, old, new, says):
    with pytest.raises(Refused, match=says) as refused:
        declared(changed(old, new))
    assert f"workers/tasks/{NAME}.py" in str(refused.value)


@pytest.mark.parametrize("rows", [1, 300])
def test_a_task_that_fails_on_every_real_item_stops_its_first_batch(declared, pipeline, rows):
    asset = declared(changed('(orders["price"] * 100)', '(100 / (orders["price"] // 100 - 1))'))
    shop = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)
    header = "customer,product,price,ordered_at\n"
    shop.store.put(
        f"orders/dt={DAY}/orders.csv",
        (header + f"ann,Teapot,100,{DAY}T10:00:00Z\n" * rows).encode(),
    )
    work = shop.plan(DAY)
    if rows > 20:
        with pytest.raises(Refused, match=f"{NAME} fails on every item"):
            shop.work(work)
    else:
        shop.work(work)
    letters = shop.letters()

    assert len(letters) <= 20
    assert all("IntCastingNaNError" in letter["reason"] for letter in letters)
    assert any(f"{NAME}.py:" in line for letter in letters for line in letter["where"])


def test_a_task_may_refuse_a_made_up_item_as_it_refuses_a_real_one(declared):
    look_up = "    [{'Teapot': 1}[product] for product in orders['product']]\n"
    declared(changed("    return {\n", f"{look_up}    return {{\n"))


def test_a_task_that_observes_contributes_its_observations(observing):
    assert observing.observation_type is observing.observe.observation
    assert [field.name for field in msgspec.structs.fields(observing.observation_type)] == [
        "product",
        "cents",
        "asked_at",
    ]


def test_a_change_of_the_declaration_is_no_new_code_and_any_other_change_is():
    assert code_of(TYPED.replace('"2024-01-01"', '"2025-01-01"')) == code_of(TYPED)
    assert code_of(TYPED.replace("* 100", "* 1000")) != code_of(TYPED)
