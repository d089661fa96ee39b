"""What lies in the place of a partition beside its data."""

import msgspec
import pytest

from workers.declare import Asset, Partitions

DAYS = Partitions(start="1997-01-01")
DAY = "1998-04-01"


def asset_with(template, **more):
    return Asset(name="orders", description="", partitions=DAYS, template=template, **more)


@pytest.mark.parametrize(
    "name",
    [
        "_SUCCESS",
        "_temporary/0/_temporary/attempt_1998_m_0/part-0.json",
        ".spark-staging-1/part-0.json",
        "_delta_log/00000000000000000000.json",
        "_committed_4711",
        "_started_4711",
        "_metadata",
        ".part-0.json.crc",
        "part-0.json.crc",
        "hour=07/_SUCCESS",
        "hour=07/.hoodie/x.json",
        "hour=07_$folder$",
        "part-0.json._COPYING_",
    ],
)
def test_what_other_tools_hide_is_no_block(name):
    asset = asset_with("events/dt={partition}/")
    key = f"events/dt={DAY}/{name}"
    assert asset.partition_of(key) is None
    assert asset.owner_of(key) == DAY
    assert asset.is_beside_data(key)


@pytest.mark.parametrize(
    "name", ["part_0.json", "a.b/c_d.json", "_action=like/part-0.json", "x.crc.json", "a-.b_"]
)
def test_names_with_such_characters_elsewhere_are_blocks(name):
    assert asset_with("events/dt={partition}/").partition_of(f"events/dt={DAY}/{name}") == DAY


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("_raw/{partition}/", "_raw/1998-04-01/a.json"),
        ("raw/_{partition}/", "raw/_1998-04-01/a.json"),
        ("raw/.{YYYY}/_{MM}/{DD}/", "raw/.1998/_04/01/a.json"),
        ("raw/{partition}/{*}/_done/{*}", "raw/1998-04-01/x/_done/a.json"),
        ("raw/{partition}_{*}", "raw/1998-04-01_a.json"),
        ("raw/{partition}/{*}.json.crc", "raw/1998-04-01/a.json.crc"),
        (r"re:_raw/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)/.*", "_raw/1998-04-01/a.json"),
        (r"re:\w+/_(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)/.*", "raw/_1998-04-01/a.json"),
        (
            r"re:raw/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)/\w+/_done/\.x/.*",
            "raw/1998-04-01/x/_done/.x/a.json",
        ),
    ],
)
def test_what_a_template_writes_itself_is_meant(template, key):
    asset = asset_with(template)
    assert asset.partition_of(key) == DAY
    folder, _, name = key.rpartition("/")
    if asset.owner_of(f"{folder}/_{name}"):
        assert asset.partition_of(f"{folder}/_{name}") is None


def test_an_asset_may_say_that_hidden_objects_are_blocks():
    asset = asset_with("events/dt={partition}/")
    reads_hidden = msgspec.structs.replace(asset, reads_hidden=True)
    key = f"events/dt={DAY}/_temporary/a.json"
    assert (asset.partition_of(key), reads_hidden.partition_of(key)) == (None, DAY)


@pytest.mark.parametrize(
    ("template", "way_out"),
    [
        ("/events/dt={partition}/", "'events/dt={partition}/'.*re:/"),
        ("s3://bucket/events/dt={partition}/", "FANFOLD_BUCKET"),
    ],
)
def test_a_template_that_begins_as_no_key_does_is_questioned(template, way_out):
    with pytest.raises(ValueError, match=way_out):
        asset_with(template)


def test_keys_that_do_begin_with_a_slash_have_an_expression():
    asset = asset_with(r"re:/events/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)/.*")
    assert asset.partition_of(f"/events/{DAY}/a.json") == DAY
    assert asset.prefixes(DAY) == ["/events/"]
