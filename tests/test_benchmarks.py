"""The benchmarks: their events, what competes leaves the same, and figures follow from seconds."""

from types import SimpleNamespace
from xml.etree import ElementTree

import msgspec
import psutil
import pytest
from bson import Int64

from benchmarks import figures, scripts
from benchmarks.chart import draw
from benchmarks.documents import Agreement, digest, digests
from benchmarks.events import USERS, event_blocks
from benchmarks.process import measure
from benchmarks.scale import TINY, take_turns
from benchmarks.surroundings import DAY, put_events, server_cpu_seconds
from tests.support.pipeline import event
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader
from workers.tasks.user_profiles import Event

EVENTS = 2_000
NOON = 896_702_400  # of the day


def runs(*seconds):
    return [{"seconds": each, "peak_mb": 100 * each} for each in seconds]


# Events


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others():
    first = dict(event_blocks(1_000, 3, 1, "1998-06-01"))
    assert dict(event_blocks(1_000, 3, 1, "1998-06-01")) == first
    assert dict(event_blocks(1_000, 3, 2, "1998-06-01")) != first
    assert len(first) == 3


def test_every_line_is_an_event_of_the_day():
    reader = ItemReader(Event)
    bodies = [body for _, body in event_blocks(1_000, 3, 1, "1998-06-01")]

    run = Lines(0, b"".join(bodies).splitlines())
    items = reader.items(run, lambda *bad: 1 / 0).items
    assert len(items) == 1_000

    frame = reader.frame(items)
    assert frame["ts"].between(896659200000, 896659200000 + 86_400_000).all()
    assert 300 < frame["user"].nunique() < USERS
    assert msgspec.json.encode(items[0].topics)


# What competes


def test_all_scripts_leave_the_documents_that_fanfold_leaves(pipeline):
    put_events(EVENTS, blocks=3)
    pipeline.run(DAY)
    agreement = Agreement()
    agreement.check("fanfold", digests(pipeline.profiles))
    assert len(agreement.digests) == pipeline.profiles.count_documents({}) > 300

    for name, script in scripts.SCRIPTS.items():
        script(pipeline.database[name])
        agreement.check(name, digests(pipeline.database[name]))


def test_an_opinion_of_a_later_block_does_not_replace_one_of_a_later_time(pipeline):
    def opinion(action, ts, item="i1"):
        return event(action=action, ts=ts, item=item, topics=["t1"])

    pipeline.put([opinion("like", NOON), opinion("like", NOON, "i2")], DAY, "0.jsonl")
    pipeline.put([opinion("dislike", NOON - 1), opinion("dislike", NOON, "i2")], DAY, "1.jsonl")
    pipeline.put(
        [opinion("dislike", NOON + 1, "i2"), event(action="view", ts=NOON)], DAY, "2.jsonl"
    )
    pipeline.run(DAY)

    for name, script in scripts.SCRIPTS.items():
        script(pipeline.database[name])
        assert pipeline.database[name].find_one()["liked"] == ["i1"]
        assert digests(pipeline.database[name]) == digests(pipeline.profiles)


def digests_of(database, *documents):
    collection = database["compared"]
    collection.drop()
    collection.insert_many(documents)
    return digests(collection)


def test_neither_the_order_of_keys_nor_bookkeeping_makes_documents_differ(database):
    first = digests_of(database, {"_id": "u1", "a": 1, "b": {"c": 1, "d": 2}, "_fold": 1})
    assert digests_of(database, {"_id": "u1", "b": {"d": 2, "c": 1}, "a": 1, "_mine": 2}) == first


@pytest.mark.parametrize("other", [[1, 2.0], [2, 1], [1, Int64(2)], [1], ["1", 2]])
def test_order_in_lists_and_types_of_values_make_documents_differ(database, other):
    first = digests_of(database, {"_id": "u1", "a": [1, 2]})
    assert digests_of(database, {"_id": "u1", "a": other}) != first


def test_whoever_leaves_another_document_ends_the_benchmark_which_names_it(database):
    agreement = Agreement()
    first = [{"_id": name, "events": 1} for name in ("u1", "u2", "u3")]
    agreement.check("fanfold", digests_of(database, *first))
    agreement.check("pool", digests_of(database, *reversed(first)))

    changed = [first[0], first[1] | {"events": 2}, first[2] | {"events": 2}]
    with pytest.raises(SystemExit, match="native and fanfold left different documents: 'u2'"):
        agreement.check("native", digests_of(database, *changed))
    with pytest.raises(SystemExit, match="script and fanfold left different documents: 'u3'"):
        agreement.check("script", digests_of(database, *first[:2]))


def test_one_digest_is_of_all_documents(database):
    first = [{"_id": "u1", "events": 1}, {"_id": "u2", "events": 2}]
    whole = digest(digests_of(database, *first))
    assert digest(digests_of(database, *reversed(first))) == whole
    assert digest(digests_of(database, *first[:1])) != whole


# Measuring


def test_competitors_take_turns_and_a_slow_one_has_no_further():
    order = []

    def competitor(name, seconds):
        def compete():
            order.append(name)
            return {"seconds": seconds}

        return compete

    turns = {"quick": competitor("quick", 1), "slow": competitor("slow", 9)}
    taken = take_turns(turns, TINY._replace(rounds=3, patience_seconds=5))
    assert order == ["quick", "slow", "quick", "quick"]
    assert [len(answers) for answers in taken.values()] == [3, 1]


def test_a_measurement_says_what_its_process_took():
    measured = measure("benchmarks.environment:environment")
    assert measured.answer["cores"] >= 1
    assert measured.cpu_seconds > 0
    assert 5 < measured.peak_mb < 1_000


def test_the_cpu_seconds_of_the_running_servers_are_known(servers):
    before = server_cpu_seconds()
    assert before.keys() >= {"mongod", "seaweedfs"}  # Redis too, once a test has needed a broker
    assert all(after >= before[name] >= 0 for name, after in server_cpu_seconds().items())


def test_a_measurement_that_fails_ends_the_benchmark():
    with pytest.raises(SystemExit, match="run failed with 1"):
        measure("benchmarks.scripts:run", script="none")


def test_a_measurement_that_is_given_up_leaves_no_process(monkeypatch):
    mine = psutil.Process()
    before = mine.children(recursive=True)

    def give_up(_seconds):
        raise KeyboardInterrupt

    # Of that module alone: threads of this process, such as a MongoDB client's, go on sleeping.
    monkeypatch.setattr("benchmarks.process.time", SimpleNamespace(sleep=give_up))
    with pytest.raises(KeyboardInterrupt):
        measure("benchmarks.environment:environment")
    assert set(mine.children(recursive=True)) <= set(before)


# Figures


def test_whole_job_ratios_are_of_the_median_and_of_the_fastest_peer():
    at_one = {
        "fanfold": runs(2, 9, 2),
        "fanfold_warm": runs(1, 10, 1),
        "merged_script": runs(6, 8, 10),
        "celery_chord": runs(5),
        "dask_map": runs(4),
    }
    found = figures.figures_of({"whole_job": {"runs": {"5000000": at_one}}})
    assert found["whole_job_vs_merged_script"] == 4
    assert found["whole_job_vs_peers"] == 4
    assert found["whole_job_vs_celery_chord"] == 5
    assert found["peak_mb"] == 1_000
    assert "whole_job_vs_pool" not in found


def test_growth_is_of_seconds_per_million_events():
    sizes = {
        "1000000": {"fanfold": runs(2), "pool": runs(4)},
        "5000000": {"fanfold": runs(10), "pool": runs(10)},
        "10000000": {"fanfold": runs(22), "pool": runs(11)},
    }
    found = figures.figures_of({"whole_job": {"runs": sizes}})
    assert found["growth_10m_vs_1m"] == 1.1
    assert found["whole_job_vs_pool"] == 1
    assert found["whole_job_vs_pool_10m"] == 0.5


def test_overhead_is_compared_at_the_most_steps_that_both_ran():
    def of(**seconds):
        return {steps[1:]: [{"step_seconds": each}] for steps, each in seconds.items()}

    part = {"default": of(_10=2, _50=1), "fanfold": of(_10=0.5, _50=0.2, _200=0.25)}
    found = figures.figures_of({"overhead": {"runs": part}})
    assert found["overhead_vs_default"] == 5
    assert found["overhead_growth_200_vs_50"] == 1.25


def test_the_fold_is_a_part_of_the_rate_of_raw_writes():
    part = {
        "new": [{"fold_seconds": 4, "raw_seconds": 3}],
        "existing": [{"fold_seconds": 4, "raw_seconds": 2}],
        "history": {"1": [1, 2, 3], "30": [2, 2, 2], "800": [3, 3, 9]},
    }
    found = figures.figures_of({"fold": part})
    assert found == {
        "fold_vs_raw_new": 0.75,
        "fold_vs_raw_existing": 0.5,
        "fold_history_30_vs_1": 1,
        "fold_history_800_vs_1": 1.5,
    }


def test_reading_is_compared_with_the_fastest_other_reader():
    readers = {"fanfold": runs(4), "pyarrow": runs(1), "polars": runs(2)}
    found = figures.figures_of({"formats": {"runs": {"csv": readers}}})
    assert found == {"reading_csv_vs_fastest": 0.25}


def test_the_chart_has_a_bar_for_each_competitor_at_each_size():
    sizes = {"1000": {"fanfold": runs(2), "pool": runs(4)}, "2000": {"fanfold": runs(3)}}
    svg = ElementTree.fromstring(draw({"runs": sizes}))
    assert len(svg.findall("{*}rect")) == 3
