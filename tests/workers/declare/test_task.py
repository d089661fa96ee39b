"""Mistakes in a file of workers/tasks/, made in the one that docs/your-own-asset.md shows."""

import importlib
import re
import sys

import msgspec
import pytest

from tests.support.pipeline import Pipeline
from tests.test_your_own_asset import OBSERVING, TYPED, with_derive
from workers import tasks
from workers.assets import asset_named, assets, broken_assets, catalogue
from workers.declare import Tolerance
from workers.declare.task import load_task
from workers.errors import Refused

NAME = "customer_profiles"
DAY = "2024-05-01"


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """Return a way to declare a file as the only one of workers/tasks/; it returns its asset."""

    def declare(text, name=NAME):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return asset_named(name)

    monkeypatch.setattr(tasks, "__path__", [str(tmp_path)])
    catalogue.cache_clear()
    yield declare
    catalogue.cache_clear()
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(f"workers.tasks.{file.stem}", None)


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
            'orders["product"]',
            r"'spent_cents' need whole numbers \(of 64 bits\) as values, not '1'",
        ),
        (
            '(customer, orders["ordered_at"])',
            '(customer, pd.to_datetime(orders["ordered_at"], unit="ms"))',
            "'last_order' need the milliseconds of a Time as values, not Timestamp",
        ),
        ('key=orders["product"]', 'key=orders["price"]', "'products' need text as keys, not 1.0"),
        ("(msgspec.Struct)", "", "Order'> is no msgspec.Struct"),
        (
            "profile: Document) -> Document:\n",
            "profile: Document) -> Document:\n    return {'_id': 1}\n",
            "makes _id",
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
        ("    template=", "    known_only=True,\n    template=", "by_item=True"),
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


def test_a_collection_has_the_profiles_of_one_asset(declared, tmp_path):
    text = changed('name="customer_profiles"', 'name="a_shop", collection="customer_profiles"')
    (tmp_path / "a_shop.py").write_text(text)
    with pytest.raises(Refused, match="'customer_profiles' has the profiles of a_shop"):
        declared(with_derive())


def test_a_file_that_tasks_share_is_no_asset(declared, tmp_path):
    (tmp_path / "_money.py").write_text("CENTS = 100\n")
    declared(with_derive())
    assert (list(assets()), broken_assets()) == ([NAME], {})


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


@pytest.mark.parametrize(
    "line",
    [
        "[{'Teapot': 1}[product] for product in orders['product']]",
        "orders['product'].str.split(' ').str[3].str.rpartition(':')",
        "orders['product'].str.split(' ', expand=True)[3]",
        "orders['product'].map(lambda product: re.match('Tea', product).group())",
        "pd.to_datetime(orders['product'])",
        "orders['product'].str.extract('(Tea)')[0].astype('int64')",
        "orders.set_index('product').loc['Teapot']",
    ],
)
def test_a_task_may_refuse_a_made_up_item_as_it_refuses_a_real_one(declared, line):
    text = changed("    return {\n", f"    {line}\n    return {{\n")
    declared(text.replace("import msgspec", "import re\n\nimport msgspec"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("orders[['product', 'cost']]", "asks for .*'cost'"),
        ("orders.loc[orders['price'] > 0, ['cost']]", "asks for .*'cost'"),
        ("orders[orders['price'] > 9].groupby('cost').size()", "asks for 'cost'"),
        ("orders['price'].rond()", "no attribute 'rond'"),
        ("pd.cut_up(orders['price'])", "no attribute 'cut_up'"),
    ],
)
def test_a_name_that_no_item_has_is_a_mistake(declared, line, says):
    with pytest.raises(Refused, match=says):
        declared(changed("    return {\n", f"    {line}\n    return {{\n"))


def with_example(example, old="contributions=contributions", new=None):
    """Return the document's file with an example."""
    return changed(old, new or old).replace(
        "contributions=contributions,", f"contributions=contributions, example={example},"
    )


LINE = '{"customer":"ann","product":"Teapot","price":23.7,"ordered_at":"2024-05-01"}'
COLUMNS = {"customer": "ann", "product": "Tea", "price": 2.5, "ordered_at": "2024-05-01"}
ROW = "customer,product,price,ordered_at\nann,Teapot,23.70,2024-05-01T10:00:00Z\n"
EXAMPLES = {
    "a line of JSON": repr(LINE),
    "a line of bytes": repr(LINE.encode()),
    "columns": repr(COLUMNS),
    "columns of text": repr({name: str(value) for name, value in COLUMNS.items()}),
    "an item": "Order(customer='ann', product='Tea', price=2.5, ordered_at=Time(1714521600000))",
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_of_the_author_is_what_the_task_is_tried_on(declared, example):
    declared(with_example(example))
    look_up = "    [{'Samovar': 1}[product] for product in orders['product']]\n"
    text = with_example(example, "    return {\n", f"{look_up}    return {{\n")
    with pytest.raises(Refused, match=f"fails on the example, KeyError: 'Tea.*{NAME}.py:"):
        sys.modules.pop(f"workers.tasks.{NAME}")
        catalogue.cache_clear()
        declared(text)


def test_an_example_is_read_as_the_blocks_of_its_asset(declared):
    declared(with_example(repr(ROW)).replace("template=", 'format="csv", template='))


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("7", "it is int"),
        ("''", "holds no item"),
        ("{'customer': 'ann'}", "missing required field `product`"),
        (repr(LINE.replace("23.7", '"dear"')), "Expected `float`, got `str`"),
    ],
)
def test_an_example_that_is_no_item_is_refused_with_the_reason(declared, example, says):
    with pytest.raises(Refused, match=f"the example .* cannot be read as Order: .*{says}"):
        declared(with_example(example))


ITEM = """
import datetime, decimal, enum, uuid
import typing
from typing import Annotated, Any, Literal
import msgspec
import pandas as pd
from workers.declare import *


class Colour(enum.Enum):
    RED = "red"


class Part(msgspec.Struct):
    size: int


class Order(msgspec.Struct):
    customer: str
    value: {type}
    {more}


def contributions(orders):
    return {{"orders": rows(orders["customer"]), "values": rows(orders["customer"], {value})}}


task = Task(item=Order, fields={{"orders": Sum(), "values": {field}}}, contributions=contributions)
asset = Asset(
    name="customer_profiles",
    description="",
    partitions=Partitions(start="2024-01-01"),
    template="orders/dt={{partition}}/",
)
"""
VALIDATING = """
    def __post_init__(self):
        if "@" not in self.customer:
            raise ValueError("a customer has an address")
"""


@pytest.mark.parametrize(
    ("type_", "value", "field"),
    [
        ("decimal.Decimal", 'orders["value"]', "Sum(float)"),
        ("decimal.Decimal | None", 'orders["value"].astype("float64")', "Sum(float)"),
        ("float", 'orders["value"]', "Sum()"),
        ("uuid.UUID", 'orders["value"].map(str)', "Max(str)"),
        ("uuid.UUID", 'orders["value"].map(lambda value: value.hex)', "Max(str)"),
        ("datetime.date", 'orders["value"].map(lambda day: day.year)', "Max()"),
        ("datetime.time", 'orders["value"].map(lambda time: time.hour)', "Max()"),
        ("datetime.timedelta", 'orders["value"].dt.total_seconds()', "Sum(float)"),
        ("datetime.datetime", 'orders["value"].dt.year', "Max()"),
        ("bytes", 'orders["value"].map(len)', "Sum()"),
        ("Colour", 'orders["value"].map(lambda colour: colour.value)', "Max(str)"),
        ('Literal["a", "b"]', 'orders["value"]', "Max(str)"),
        ("Part", 'orders["value"].map(lambda part: part.size)', "Sum()"),
        ("list[Part]", 'orders["value"].map(lambda parts: parts[0].size)', "Sum()"),
        ("dict[str, int]", 'orders["value"].map(lambda sizes: sum(sizes.values()))', "Sum()"),
        ("tuple[int, str]", 'orders["value"].map(lambda pair: pair[0])', "Sum()"),
        ("Annotated[str, msgspec.Meta(pattern='^x')]", 'orders["value"].str.len()', "Sum()"),
        ("Annotated[int, msgspec.Meta(ge=18)]", '1 // (orders["value"] // 18)', "Sum()"),
        ("Annotated[str, msgspec.Meta(min_length=3)]", 'orders["value"].str[2]', "Max(str)"),
        ("Any", 'orders["value"].map(lambda value: value["a"])', "Sum()"),
        ("int | str", 'pd.to_numeric(orders["value"])', "Sum()"),
        ("str", 'orders["value"].astype("int64")', "Sum()"),
        ('Time(unit="ms")', 'orders["value"]', "Max(datetime.datetime)"),
    ],
)
def test_contributions_that_are_right_for_a_type_of_item_load(declared, type_, value, field):
    declared(ITEM.format(type=type_, value=value, field=field, more=""))


def test_an_item_type_that_refuses_the_made_up_item_is_not_tried(declared):
    declared(ITEM.format(type="int", value="1", field="Sum()", more=VALIDATING))


def test_a_file_with_a_mistake_costs_its_own_asset_and_those_made_of_its_profiles(
    declared, tmp_path
):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(1)\n")
    for name, source in (("scores", "broken"), ("ranks", "scores")):
        text = TYPED.replace('template="orders/dt={partition}/"', f'source="{source}"')
        (tmp_path / f"{name}.py").write_text(text.replace(NAME, name))

    assert declared(TYPED).name == NAME
    assert list(assets()) == [NAME]
    reasons = broken_assets()
    assert "workers/tasks/broken.py cannot be loaded: ModuleNotFoundError" in reasons["broken"]
    assert "workers/tasks/leaves.py cannot be loaded: SystemExit" in reasons["leaves"]
    assert reasons["scores"].endswith("the source 'broken' cannot be loaded")
    assert reasons["ranks"].endswith("the source 'scores' cannot be loaded")
    with pytest.raises(Refused, match=r"broken\.py cannot be loaded"):
        asset_named("broken")


@pytest.mark.parametrize(
    ("old", "new", "price", "says"),
    [
        ('* 100).round().astype("int64")', ")", "0.5", "whole numbers .*, not 0.5"),
        ("rows(customer),", 'rows(customer.where(orders["price"] < 9, None)),', "10", "lacks a"),
    ],
)
def test_an_item_whose_contribution_is_of_a_wrong_type_is_one_dead_letter(
    declared, pipeline, old, new, price, says
):
    asset = declared(changed(old, new))
    asset = msgspec.structs.replace(asset, tolerance=Tolerance(count=1))
    shop = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)
    lines = [f"ann,Teapot,{price if number == 333 else 1},{DAY}\n" for number in range(1_000)]
    body = "customer,product,price,ordered_at\n" + "".join(lines)
    shop.store.put(f"orders/dt={DAY}/orders.csv", body.encode())
    shop.run(DAY)
    (letter,) = shop.letters()
    assert re.search(says, letter["reason"])
    assert shop.profile("ann")["orders"] == 999


def test_a_task_that_observes_contributes_its_observations(observing):
    assert observing.observation_type is observing.observe.observation
    assert [field.name for field in msgspec.structs.fields(observing.observation_type)] == [
        "product",
        "cents",
        "asked_at",
    ]


@pytest.fixture
def shop(declared, pipeline):
    """The document's asset with prices in units of 5e18 cents, so that two do not fit 64 bits."""
    asset = declared(changed('* 100).round().astype("int64")', "* 5e18)"))
    return Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)


def put_prices(shop, day, **prices):
    rows = [f"{who},Tea,{price},{day}\n" for who, values in prices.items() for price in values]
    body = "customer,product,price,ordered_at\n" + "".join(rows)
    shop.store.put(f"orders/dt={day}/orders.csv", body.encode())


def test_a_total_beyond_64_bits_costs_its_profile_and_no_other(shop):
    put_prices(shop, DAY, ann=[1, 1], bo=[1])
    summary = shop.run(DAY)
    assert (summary["items_used"], summary["dead_letters"]) == (3, 0)
    assert shop.profile("bo")["spent_cents"] == 5 * 10**18
    assert shop.profile("ann") is None
    (failed,) = shop.ledger.last_plan(NAME, DAY).failed_profiles
    assert (failed.profile, failed.field) == ("ann", "spent_cents")
    assert "8-byte ints" in failed.why


def test_a_total_that_is_beyond_64_bits_only_on_its_way_is_exact(shop):
    put_prices(shop, DAY, ann=[1] * 5 + [-1] * 4)
    shop.sized(1).run(DAY)
    assert shop.profile("ann")["spent_cents"] == 5 * 10**18
    assert shop.verify().match


def test_a_total_of_several_partitions_beyond_64_bits_leaves_the_profile_as_it_was(shop):
    next_day = "2024-05-02"
    put_prices(shop, DAY, ann=[1], bo=[1])
    put_prices(shop, next_day, ann=[1], bo=[-1])
    shop.run(DAY)
    shop.run(next_day)
    (failed,) = shop.ledger.last_plan(NAME, next_day).failed_profiles
    assert failed.profile == "ann"
    assert shop.profile("ann")["spent_cents"] == 5 * 10**18
    assert shop.profile("bo")["spent_cents"] == 0
