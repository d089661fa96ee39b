import csv
import io
import json
import random
import statistics
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.pipeline import Pipeline
from workers.declare import Number
from workers.errors import Refused
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader
from workers.tasks.device_profiles import Reading, asset, derive
from workers.values import PlaceKind

DAY = "2013-01-01"
MIDNIGHT = 1356998400  # of that day


@pytest.fixture
def devices(pipeline):
    return Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)


def reading(value, metric="temp", device="ann", hour=0):
    return {"device": device, "metric": metric, "value": value, "ts": MIDNIGHT + 3600 * hour}


def put(devices, readings, name="a.jsonl", day=DAY):
    body = "".join(f"{json.dumps(reading)}\n" for reading in readings).encode()
    devices.store.put(f"readings/dt={day}/{name}", body)


def as_csv(readings):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["device", "metric", "value", "ts"])
    writer.writeheader()
    writer.writerows(readings)
    return text.getvalue().encode()


def time(hour):
    return datetime(2013, 1, 1, hour, tzinfo=UTC)


def test_the_fields_of_a_device_follow_from_its_readings(devices):
    put(
        devices,
        [
            reading(2, hour=3),
            reading(4.0, hour=1),
            reading(9, hour=2),
            reading("NA", hour=5),
            reading(0.5, "humid", hour=4),
            reading(None, "gust", hour=0),
        ],
    )
    devices.run(DAY)

    assert devices.profile("ann") == {
        "_id": "ann",
        "count": {"temp": 3, "humid": 1, "gust": 0},
        "missing": {"temp": 1, "humid": 0, "gust": 1},
        "min": {"temp": 2.0, "humid": 0.5},
        "max": {"temp": 9.0, "humid": 0.5},
        "sum": {"temp": 15.0, "humid": 0.5},
        "squares": {"temp": 101.0, "humid": 0.25},
        "last": {"temp": 2.0, "humid": 0.5},
        "last_at": {"temp": time(3), "humid": time(4)},
        "first_seen": time(0),
        "last_seen": time(5),
        "mean": {"temp": 5.0, "humid": 0.5, "gust": None},
        "std": {"temp": 13**0.5, "humid": None, "gust": None},  # ((-3)² + (-1)² + 4²) / 2 = 13
    }
    assert devices.verify().match


def test_the_order_of_batches_and_the_cut_of_blocks_change_no_digit(devices):
    chance = random.Random(5)
    readings = [
        reading(
            chance.choice([1e9 + chance.random(), chance.gauss(0, 1e-9), -1e16, 1e16, 0.1, -0.0]),
            chance.choice(["temp", "a.b$%"]),
            chance.choice(["ann", "bo"]),
            chance.randrange(24),
        )
        for _ in range(120)
    ]
    digests = set()

    for size, parts in ((120, 1), (7, 1), (30, 3), (5, 8)):
        chance.shuffle(readings)
        for block in devices.store.list("readings/"):
            devices.remove(block.key)
        for part in range(parts):
            put(devices, readings[part::parts], f"{size}-{part}.jsonl")
        devices.sized(size).run(DAY)
        verdict = devices.verify()
        assert verdict.match
        digests.add(verdict.digest)
    assert len(digests) == 1
    assert set(devices.profile("ann")["mean"]) == {"temp", "a%2Eb%24%25"}


def test_a_small_deviation_around_a_large_mean_is_not_lost(devices):
    chance = random.Random(3)
    values = [1e9 + chance.gauss(0, 1e-4) for _ in range(1_000)]
    put(devices, [reading(value) for value in values])
    devices.run(DAY)
    profile, exactly = devices.profile("ann"), [Fraction(value) for value in values]
    assert profile["std"]["temp"] == statistics.stdev(exactly)
    assert profile["mean"]["temp"] == float(statistics.mean(exactly))
    naive = (sum(v * v for v in values) - sum(values) ** 2 / 1_000) / 999
    assert abs(naive - profile["std"]["temp"] ** 2) > 1  # what floats alone would have said


def test_equal_values_do_not_deviate_and_days_add_up(devices):
    days = [DAY, "2013-01-02", "2013-01-03"]
    for number, day in enumerate(days):
        put(devices, [reading(0.1, hour=24 * number + hour) for hour in range(3)], day=day)
    devices.run(*days)
    profile = devices.profile("ann")
    assert (profile["count"]["temp"], profile["mean"]["temp"]) == (9, 0.1)
    assert profile["std"]["temp"] == 0.0
    assert profile["sum"]["temp"] == float(9 * Fraction(0.1))


@pytest.mark.parametrize("value", ["NA", "na", "NaN", "null", "None", "", None])
def test_a_value_that_means_missing_is_counted_as_missing_and_as_nothing_else(devices, value):
    put(devices, [reading(value, hour=2), reading(7, hour=1)])
    body = as_csv([reading("" if value is None else value, hour=3)])
    devices.store.put(f"readings/dt={DAY}/b.csv", body)
    assert devices.run(DAY)["dead_letters"] == 0
    profile = devices.profile("ann")
    assert (profile["count"], profile["missing"]) == ({"temp": 1}, {"temp": 2})
    assert (profile["last"], profile["min"], profile["mean"]) == ({"temp": 7.0},) * 3
    assert profile["last_seen"] == time(3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("warm", "Expected a number or NA"),
        ("1_000", "Expected a number or NA"),
        ("\u0661\u0662", "Expected a number or NA"),
        (True, "Expected a number or NA"),
        ([1], "Expected a number or NA"),
        (1e151, "at most 1e+150"),
        (10**400, "at most 1e+150"),
        ("-inf", "at most 1e+150"),
    ],
)
def test_a_value_that_is_no_number_is_a_dead_letter(devices, value, reason):
    put(devices, [reading(value), reading(1)])
    assert devices.run(DAY)["dead_letters"] == 1
    assert reason in devices.letters()[0]["reason"]
    assert devices.profile("ann")["count"] == {"temp": 1}


def test_a_reading_without_a_value_is_a_dead_letter(devices):
    put(devices, [{"device": "ann", "metric": "temp", "ts": MIDNIGHT}, reading(1)])
    devices.run(DAY)
    assert [letter["reason"] for letter in devices.letters()] == [
        "Object missing required field `value`"
    ]


def test_a_table_without_values_is_no_block_of_readings(devices):
    put(devices, [reading(1)])
    devices.store.put(f"readings/dt={DAY}/b.csv", b"device,metric,ts\nann,temp,2013-01-01\n")
    with pytest.raises(Refused, match="no column `value`"):
        devices.run(DAY)


def test_json_csv_and_parquet_say_the_same(devices):
    values = [1.5, None, -3, 1e150, 1e-300, 0]
    readings = [reading(value, hour=hour) for hour, value in enumerate(values)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(readings), file)
    digests = set()

    for name, body in (
        ("a.jsonl", "".join(f"{json.dumps(reading)}\n" for reading in readings).encode()),
        ("a.csv", as_csv(readings)),
        ("a.parquet", file.getvalue()),
    ):
        for block in devices.store.list("readings/"):
            devices.remove(block.key)
        devices.store.put(f"readings/dt={DAY}/{name}", body)
        devices.run(DAY, drop_removed=True)  # CSV has far fewer bytes than JSON
        verdict = devices.verify()
        assert verdict.match
        digests.add(verdict.digest)
    assert len(digests) == 1
    assert devices.profile("ann")["count"] == {"temp": 5}


def test_values_become_a_column_of_floats_with_nan_where_they_are_missing():
    reader = ItemReader(Reading)
    lines = [json.dumps(reading(value)).encode() for value in (1, "2.5", None, "NA")]
    items = reader.items(Lines(0, lines), pytest.fail).items
    column = reader.frame(items)["value"]
    assert column.dtype == "float64"
    assert column.isna().tolist() == [False, False, True, True]
    assert column.tolist()[:2] == [1.0, 2.5]
    assert reader.frame([])["value"].dtype == "float64"


def test_a_number_may_be_optional_too():
    class Loose(msgspec.Struct):
        value: Number | None = None

    reader = ItemReader(Loose)
    lines = [b'{"value": 1}', b'{"value": null}', b'{"value": "NA"}', b"{}"]
    texts = [{"value": "1"}, {"value": ""}, {"value": "null"}, {}]
    values = [{"value": Decimal(1)}, {"value": None}, {"value": float("nan")}, {}]
    runs = (
        Lines(0, lines),
        Rows(texts, PlaceKind.ROW, range(4), is_text=True),
        Rows(values, PlaceKind.ROW, range(4), is_text=False),
    )
    for run in runs:
        items = reader.items(run, pytest.fail).items
        column = reader.frame(items)["value"]
        assert column.dtype == "float64"
        assert column.fillna(-1).tolist() == [1, -1, -1, -1]


def test_the_deviation_is_that_of_a_sample_as_pandas_has_it():
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    exactly = [Fraction(value) for value in values]
    derived = derive(
        {
            "count": {"a": 8, "b": 1, "c": 0},
            "sum": {"a": sum(exactly), "b": Fraction(1, 4)},
            "squares": {"a": sum(value**2 for value in exactly), "b": Fraction(1, 16)},
        }
    )

    assert derived["std"] == {"a": pytest.approx(pd.Series(values).std(), rel=1e-15)} | {
        "b": None,
        "c": None,
    }
    assert derived["mean"] == {"a": 5.0, "b": 0.25, "c": None}
