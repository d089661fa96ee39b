"""How many workers run at once: what the machine, its container and its memory allow."""

import os

import pytest

from workers import steps
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.memory import forget_peak, peak_bytes
from workers.planning.slots import (
    SERVES,
    Slots,
    decide_slots,
    memory_limit,
    slots_of_servers,
    within_memory,
)

GB = 1 << 30


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root, cgroup):
    """Write which cgroups a process is in."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)


def write(root, path, text):
    file = root / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_machine_without_bounds_has_a_slot_for_each_core(tmp_path):
    assert decide_slots({}, tmp_path) == Slots(8, "the cores of the machine")


def test_a_setting_decides_whatever_the_machine_has(tmp_path):
    assert decide_slots({"FANFOLD_SLOTS": "20"}, tmp_path) == Slots(20, "FANFOLD_SLOTS")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_setting_that_is_no_number_of_workers_is_refused(text):
    with pytest.raises(Refused, match="it is a number of workers, from 1 on"):
        decide_slots({"FANFOLD_SLOTS": text})


def test_a_process_held_to_some_cores_has_as_many_slots(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6}, raising=False)
    assert decide_slots({}, tmp_path) == Slots(3, "the cores that this process may use")


@pytest.mark.parametrize(
    ("quota", "slots"), [("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_a_container_has_a_slot_for_each_whole_core_of_its_quota(tmp_path, quota, slots):
    machine(tmp_path, "0::/\n")
    write(tmp_path, "cpu.max", quota)
    assert decide_slots({}, tmp_path) == Slots(slots, "the CPU quota of the container")


def test_a_quota_of_a_group_around_counts_too(tmp_path):
    machine(tmp_path, "0::/pods/one\n")
    write(tmp_path, "pods/one/cpu.max", "max 100000")
    write(tmp_path, "pods/cpu.max", "300000 100000")
    assert decide_slots({}, tmp_path).number == 3


def test_a_quota_of_the_first_version_is_found_where_the_container_is_the_outermost(tmp_path):
    machine(tmp_path, "3:cpuset:/\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    write(tmp_path, "cpu/cpu.cfs_quota_us", "400000")
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000")
    assert decide_slots({}, tmp_path).number == 4


def test_no_quota_of_the_first_version_is_no_bound(tmp_path):
    machine(tmp_path, "1:cpu,cpuacct:/\n")
    write(tmp_path, "cpu/cpu.cfs_quota_us", "-1")
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000")
    assert decide_slots({}, tmp_path).number == 8


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/\n", "memory.max"),
        ("4:memory:/docker/abc\n0::/\n", "memory/memory.limit_in_bytes"),
    ],
)
def test_memory_bounds_the_workers_by_what_one_was_seen_to_need(tmp_path, cgroup, file):
    machine(tmp_path, cgroup)
    write(tmp_path, file, str(2 * GB))
    held = within_memory(Slots(8, "the cores"), GB // 2, {}, tmp_path)
    assert held.number == 4
    assert str(held) == (
        "4 slots: the memory of the container (2,048 MB, and a worker was seen to need 512 MB)"
    )


def test_a_worker_that_needs_more_than_there_is_has_a_slot_all_the_same(tmp_path):
    machine(tmp_path, "0::/\n")
    write(tmp_path, "memory.max", str(GB))
    assert within_memory(Slots(8, "the cores"), 4 * GB, {}, tmp_path).number == 1


def test_memory_bounds_nothing_where_nothing_is_known_of_workers_or_a_person_decided(tmp_path):
    machine(tmp_path, "0::/\n")
    write(tmp_path, "memory.max", str(GB))
    slots = Slots(8, "the cores")
    assert within_memory(slots, 0, {}, tmp_path) == slots
    assert within_memory(slots, GB, {"FANFOLD_SLOTS": "8"}, tmp_path) == slots


def test_no_limit_of_a_container_leaves_the_memory_of_the_machine(tmp_path):
    machine(tmp_path, "0::/\n4:memory:/\n")
    write(tmp_path, "memory.max", "max")
    write(tmp_path, "memory/memory.limit_in_bytes", str(2**63 - 4096))
    limit, whose = memory_limit(tmp_path)
    assert whose == "machine"
    assert limit > 0


def test_a_process_knows_the_most_memory_it_has_held(tmp_path):
    before = peak_bytes()
    held = bytearray(64 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    del held
    assert peak_bytes() >= max(before, 64 << 20)
    assert peak_bytes(tmp_path / "none") == 0


def test_the_ledger_knows_the_peak_of_each_batch_and_the_next_plan_heeds_it(pipeline, monkeypatch):
    for day in range(1, 9):
        pipeline.put([{"user": "ann", "action": "like", "ts": 891388800}], f"1998-04-0{day}")
    pipeline.run("1998-04-01")
    (cost,) = pipeline.ledger.history(pipeline.asset.name)
    assert cost.peak_bytes > 0

    days = [f"1998-04-0{day}" for day in range(2, 9)]
    plan = steps.plan(*pipeline.four, days, 4)
    assert (len(plan.shares), plan.summary["slots"]) == (7, 4)
    held = 2 * cost.peak_bytes
    monkeypatch.setattr("workers.planning.slots.memory_limit", lambda _: (held, "machine"))
    plan = steps.plan(*pipeline.four, days, 4)
    assert (len(plan.shares), plan.summary["slots"]) == (2, 2)
    assert "the memory of the machine" in plan.summary["slots_decided_by"]


def test_the_most_memory_held_is_counted_anew_where_a_process_goes_on_to_other_work():
    held = bytearray(256 << 20)
    before = peak_bytes()
    del held
    forget_peak()
    assert peak_bytes() < before - (128 << 20)


def test_the_slots_of_all_processes_that_take_steps_and_are_alive_count(database):
    ledger = Ledger(database)
    assert slots_of_servers(ledger) is None
    ledger.workers.enter("one", step=SERVES, slots=2)
    ledger.workers.enter("two", step=SERVES, slots=4)
    ledger.workers.enter("three", step=SERVES, slots=8)
    ledger.workers.end("three")
    assert str(slots_of_servers(ledger)) == "6 slots: those of 2 of `fanfold worker`"
