import msgspec
import pytest

from workers.declare import Tolerance
from workers.declare.asset import Partitions
from workers.errors import Refused
from workers.ledger.records import Batch
from workers.tasks import user_profiles
from workers.values import Block, Range, blocks_digest

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


def test_news_is_what_is_there_and_not_its_order():
    one, other = Block(key="a", etag="1", size=1), Block(key="b", etag="2", size=1)
    assert blocks_digest([one, other]) == blocks_digest([other, one])
    assert blocks_digest([one]) != blocks_digest([one, other])
    assert blocks_digest([one]) != blocks_digest([Block(key="a", etag="3", size=1)])


def test_a_batch_is_known_by_what_would_change_its_result():
    def cut(version="v", etag="e", end=9, items=1):
        ranges = [Range(key="k", etag=etag, size=9, start=0, end=end, items=items)]
        return Batch.cut(USER_PROFILES, version, "1998-04-01", ranges).id

    assert cut() == cut(items=5)
    assert len({cut(), cut(version="w"), cut(etag="f"), cut(end=8)}) == 4


def test_a_tolerance_is_a_count_or_a_rate_whichever_is_more():
    asset = msgspec.structs.replace(USER_PROFILES, tolerance=Tolerance(count=10, rate=0.01))
    assert asset.tolerance.allows(10, 20)
    assert not asset.tolerance.allows(11, 20)
    assert asset.tolerance.allows(11, 1100)
