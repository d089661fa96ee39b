import msgspec
import pytest

from workers.declare import Asset, Partitions, Tolerance
from workers.errors import Refused
from workers.ledger.records import Batch
from workers.tasks import user_profiles
from workers.values import Block, ByteRange, blocks_digest

USER_PROFILES = user_profiles.asset

DAYS = Partitions(every="day", start="1997-01-01")
HOURS = Partitions(every="hour", start="1997-01-01-00:00")


def test_partitions_step_over_months_and_days():
    assert DAYS.shift("1998-03-01", -1) == "1998-02-28"
    assert HOURS.shift("1998-03-01-00:00", -1) == "1998-02-28-23:00"
    assert DAYS.between("1998-02-27", "1998-03-01") == ["1998-02-27", "1998-02-28", "1998-03-01"]


@pytest.mark.parametrize("key", ["1998-4-1", "1998-02-30", "yesterday", "", "1998-04-01-00:00"])
def test_a_malformed_partition_is_refused_with_an_example(key):
    with pytest.raises(Refused, match="1998-04-01"):
        DAYS.time(key)


def test_a_key_tells_its_partition_or_that_it_has_none():
    assert USER_PROFILES.partition_of("events/dt=1998-04-01/a.jsonl") == "1998-04-01"
    assert USER_PROFILES.partition_of("events/dt=1998-04-01") is None
    assert USER_PROFILES.partition_of("events/dt=latest-one/a.jsonl") is None


def test_an_asset_has_a_template_or_a_source_and_not_both():
    def declared(**where):
        return Asset(name="orders", description="", partitions=DAYS, **where)

    assert declared(template="orders/dt={partition}/").source == ""
    assert declared(source="user_profiles").template == ""
    with pytest.raises(ValueError, match=r"'orders' needs a template, such as .*, or a source"):
        declared()
    with pytest.raises(ValueError, match="'orders' has a template and a source"):
        declared(template="orders/dt={partition}/", source="user_profiles")


def test_the_digest_of_blocks_depends_on_their_content_and_not_on_their_order():
    first = Block(key="a", etag="1", size=1)
    second = Block(key="b", etag="2", size=1)
    assert blocks_digest([first, second]) == blocks_digest([second, first])
    assert blocks_digest([first]) != blocks_digest([first, second])
    assert blocks_digest([first]) != blocks_digest([Block(key="a", etag="3", size=1)])


def test_a_batch_is_known_by_what_would_change_its_result():
    def batch_id(version="v", etag="e", end=9, items=1):
        ranges = [ByteRange(key="k", etag=etag, size=9, start=0, end=end, items=items)]
        return Batch.of_ranges(USER_PROFILES, version, "1998-04-01", ranges).id

    assert batch_id() == batch_id(items=5)
    assert len({batch_id(), batch_id(version="w"), batch_id(etag="f"), batch_id(end=8)}) == 4


def test_a_tolerance_is_a_count_or_a_rate_whichever_is_more():
    asset = msgspec.structs.replace(USER_PROFILES, tolerance=Tolerance(count=10, rate=0.01))
    assert asset.tolerance.allows(10, 20)
    assert not asset.tolerance.allows(11, 20)
    assert asset.tolerance.allows(11, 1100)
