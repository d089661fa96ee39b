"""How many workers run at once on this machine, and what decides that.

A container may be given less than the machine has: a part of its cores (affinity), a quota of their
time, and a limit of memory. Files of cgroups say so, those of version 2 and of version 1.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from workers.errors import Refused
from workers.isolation.watch import Memory
from workers.ledger.ledger import Ledger

ROOT = Path("/")
# Of cgroups without a limit of memory version 1 says a number beyond all machines.
NO_LIMIT_BYTES = 1 << 60
SERVES = "takes steps of runs"  # what the ledger calls a process that takes them for its slots


class Slots(NamedTuple):
    """How many workers run at once, and why not more."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.number} slot{'s' if self.number > 1 else ''}: {self.why}"


def decide_slots(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Slots:
    """Return the slots that FANFOLD_SLOTS says, or else that processors allow."""
    text = environ.get("FANFOLD_SLOTS")
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise Refused(f"FANFOLD_SLOTS is {text!r}; it is a number of workers, from 1 on")
        return Slots(int(text), "FANFOLD_SLOTS")

    cores = os.cpu_count() or 1
    slots = Slots(cores, "the cores of the machine")
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    if mine < slots.number:
        slots = Slots(mine, "the cores that this process may use")

    quota = min(_quotas(root), default=float(cores))
    if quota < slots.number:
        slots = Slots(max(1, int(quota)), "the CPU quota of the container")
    return slots


def slots_of_servers(ledger: Ledger) -> Slots | None:
    """Return the slots of all processes that take steps and are alive; None where none are."""
    servers = ledger.workers.alive_at(SERVES)
    number = sum(server.slots for server in servers)
    return Slots(number, f"those of {len(servers)} of `fanfold worker`") if number else None


def within_memory(
    slots: Slots,
    peak_bytes: int,
    environ: Mapping[str, str] = os.environ,
    root: Path = ROOT,
) -> Slots:
    """Return as many of the slots as memory allows, of workers that need so many bytes each.

    Whoever sets FANFOLD_SLOTS knows better.
    """
    limit, whose = memory_limit(root)
    if environ.get("FANFOLD_SLOTS") or not peak_bytes or not limit:
        return slots

    number = max(1, limit // peak_bytes)
    if number >= slots.number:
        return slots
    needed = f"{limit >> 20:,} MB, and a worker was seen to need {peak_bytes >> 20:,} MB"
    return Slots(number, f"the memory of the {whose} ({needed})")


def memory_of_slots() -> Memory:
    """Return the memory of this machine, or of this container, by its slots."""
    limit, whose = memory_limit()
    return Memory(limit // decide_slots().number, limit, whose == "container")


def memory_limit(root: Path = ROOT) -> tuple[int, str]:
    """Return the bytes of memory that there are, and whose they are; 0 where nobody says."""
    limit, whose = _physical_memory(), "machine"
    for bytes_ in _memory_limits(root):
        if not limit or bytes_ < limit:
            limit, whose = bytes_, "container"
    return limit, whose


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _quotas(root: Path) -> Iterator[float]:
    """Yield the cores that each cgroup of this process may use the time of."""
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        quota = quota or _read(folder / "cpu.cfs_quota_us")
        period = period or _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for folder in _cgroups(root, "memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text.isdecimal() and int(text) < NO_LIMIT_BYTES:
            yield int(text)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process' cgroup and of those around it, of both versions.

    Within a container its own cgroup is often mounted as the outermost.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        folder = mount / path.strip("/")
        yield folder
        while folder != mount and mount in folder.parents:
            folder = folder.parent
            yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
