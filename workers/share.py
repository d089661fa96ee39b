"""A worker's share of batches: it runs them, then those that slower workers have not begun.

Small batches run together, as most of each is waiting for S3 and the ledger.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile

from workers.batch import Say, run_begun
from workers.dealt import Answer, ShareReference
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import FanfoldError, Refused, Unavailable
from workers.giving_way import GivingWay
from workers.isolation.isolated import LEAST_SECONDS, SLACK, Limits
from workers.isolation.watch import watch
from workers.ledger.counts import lost_batches
from workers.ledger.heartbeat import heartbeat
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors
from workers.ledger.records import Batch
from workers.ledger.shares import MAX_PLAIN
from workers.planning.sizing import batch_seconds, learn
from workers.planning.slots import memory_of_slots
from workers.small import Ends, run_together
from workers.store import BlockStore
from workers.values import Outcome

TOLERANCE_SECONDS = 5.0  # how often a worker with many batches asks which are lost anyway
SMALL_BATCH_BYTES = 64 << 10  # bytes of a batch that runs together with others
GROUP_BATCHES = 32  # small ones that run together; the tolerance is looked at before
LOOK_SECONDS = 0.5  # between looks at a batch that another worker is at
# Attempts at a batch whose workers ended without a word: two plain, the others isolated.
MAX_UNANSWERED = 6
OBSERVING_SECONDS = 600.0  # that a batch of a task which observes the world has at least
UNKNOWN_SLACK = 3  # times the asset's estimate that a batch has where nothing is learned yet

# Begins batches; those that another worker has are left out.
Begin = Callable[[Sequence[str]], dict[str, Batch]]
# Tells whether there is time to begin another batch.
HasTime = Callable[[], bool]


# By batch; None stands for one that another worker has.
Results = Mapping[str, Answer | Exception | None]


def always() -> bool:
    """Say that there is time, where nothing bounds it."""
    return True


class ShareStopped(Exception):
    """What is left of a share is not started."""


class ShareRunner:
    """What a worker holds while it runs its share of a run's batches."""

    def __init__(
        self,
        asset: Asset,
        task: Task,
        ledger: Ledger,
        store: BlockStore,
        reference: ShareReference,
        log: logging.Logger,
        has_time: HasTime = always,
    ) -> None:
        self.asset, self.ledger, self.store, self.log = asset, ledger, store, log
        self.run_id = reference.run
        self.is_last = reference.is_last
        self.is_isolated = reference.is_isolated
        self.worker = reference.worker
        self.has_time = has_time
        # A task that observes the world spares its hosts, and does so within a batch.
        self.may_crowd = task.observe is None
        self.memory = memory_of_slots()
        # Whose time is bounded has a machine of its own, and would only lose it.
        self.giving_way = None
        if has_time is always:
            self.giving_way = GivingWay(ledger, asset.name, reference.run, log)
        self.say: Say = log.debug
        self.answers: list[Answer] = []
        self._asked = -TOLERANCE_SECONDS
        # Batches of partitions that will not be folded anyway.
        self._lost: set[str] = set()

    def run(self, batch_ids: Sequence[str]) -> list[Answer]:
        """Run a share to its end, help the others, and return what became of each batch.

        Where this is not the last attempt, an error that another one may mend is raised. Refused
        where the worker was asked to stop before it began, or this is not its first beginning.
        """
        self._enter()
        self.log.info(f"worker {self.worker} runs a share of {len(batch_ids)} batches")
        with (
            heartbeat(self.ledger, self.worker) as heart,
            watch(self.memory, self.ledger.shares.note) as self.watch,
        ):
            self.say = heart.say
            try:
                with_others = self._run_own(batch_ids)
                self._help()
                for batch_id in with_others:
                    self._see_to(batch_id)
            except ShareStopped as stopped:
                self.log.warning(str(stopped))
        return self.answers

    def _enter(self) -> None:
        """Tell the ledger that this worker begins; without that, others would not wait for it."""
        try:
            with mongodb_errors():
                may_begin = self.ledger.workers.enter(self.worker, self.run_id, "share")
        except Unavailable as error:
            self.log.warning(str(error))
            return
        if not may_begin:
            raise Refused(f"worker {self.worker} has begun before, or is asked to stop")

    def _run_own(self, batch_ids: Sequence[str]) -> list[str]:
        """Run the batches of this share; return those that other workers have."""
        with_others: list[str] = []
        for group in self._own_groups(batch_ids):
            results = self._attempt(group, self._begin_own, self.is_last)
            with_others += [batch_id for batch_id, result in results.items() if result is None]
            self._take_in(results)
        return with_others

    def _begin_own(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """Begin batches of this share, without those that another worker has."""
        held = self.ledger.held(batch_ids, self.run_id, self.worker)
        free = [batch_id for batch_id in batch_ids if batch_id not in held]
        if not free:
            return {}
        return self.ledger.shares.begin(free, self.worker, not_taken_in=self.run_id)

    def _own_groups(self, batch_ids: Sequence[str]) -> Iterator[list[str]]:
        """Yield the batches of this share, but for those that are lost anyway."""
        waiting = list(batch_ids)
        while waiting:
            self._check_time()
            group = waiting[:1]
            try:
                with mongodb_errors():
                    self._give_way()
                    waiting = self._without_lost(waiting)
                    group = self._group(waiting)
            except Exception as error:  # noqa: BLE001  it is raised again, or is an answer
                self._fail(group[0], error)
            if group:
                yield group
            waiting = waiting[len(group) :]

    def _help(self) -> None:
        """Take over batches that nobody has begun, from the end of the longest share.

        What goes wrong with one is for the worker that it was dealt to.
        """
        take_over = partial(self.ledger.shares.take_over, worker=self.worker, run=self.run_id)
        try:
            with mongodb_errors():
                plans = self.ledger.plans_under_way(self.run_id)
                batch_ids = [batch_id for plan in plans for batch_id in plan.batches]
                while group := self._open_group(batch_ids := self._without_lost(batch_ids)):
                    self._give_way()
                    self._check_time()
                    results = self._attempt(group, take_over, is_last=False)
                    if any(isinstance(result, Exception) for result in results.values()):
                        return
                    self._take_in(results)
        except Unavailable as error:
            self.log.warning(f"no batch of others is taken over: {error}")

    def _open_group(self, batch_ids: Sequence[str]) -> list[str]:
        """Return the batches to take over next: of the longest share no more than a half."""
        shares = self.ledger.shares.open_by_share(self.run_id, batch_ids)
        longest = max(shares, key=len, default=[])
        from_the_end = longest[::-1][: (len(longest) + 1) // 2]
        return self._group(from_the_end)

    def _see_to(self, batch_id: str) -> None:
        """Wait for a batch that another worker has, and run it where that one gives up."""
        self.say(f"waiting for another worker with batch {batch_id}")
        self._check_time()
        while self._is_held(batch_id):
            time.sleep(LOOK_SECONDS)
            self._check_time()
        self._take_in(self._attempt([batch_id], self._begin_any, self.is_last))

    def _check_time(self) -> None:
        """ShareStopped where there is no time to begin another batch."""
        if not self.has_time():
            raise ShareStopped("too little time is left for another batch")

    def _give_way(self) -> None:
        if self.giving_way:
            self.giving_way.pause(self.say)

    def _begin_any(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """Begin batches, whoever took them over."""
        return {batch_id: self.ledger.begin(batch_id, self.worker) for batch_id in batch_ids}

    def _is_held(self, batch_id: str) -> bool:
        """Tell whether another worker is at a batch, and alive."""
        try:
            with mongodb_errors():
                return bool(self.ledger.held([batch_id], self.run_id, self.worker))
        except FanfoldError:  # which the attempt meets too
            return False

    def _group(self, batch_ids: Sequence[str]) -> list[str]:
        """Return the first of batches, with the small ones behind it where it is small too.

        One that ended its worker runs alone, so that it takes no other along.
        """
        if not self.may_crowd or self.is_isolated:
            return list(batch_ids[:1])
        some = batch_ids[:GROUP_BATCHES]
        alone = self.ledger.shares.to_run_alone(SMALL_BATCH_BYTES, some)
        together = list(takewhile(lambda batch_id: batch_id not in alone, some))
        return together or list(some[:1])

    def _without_lost(self, batch_ids: list[str]) -> list[str]:
        """Return batches without those of partitions with more bad items than are tolerated.

        Which these are is asked now and then.
        """
        if time.monotonic() - self._asked > TOLERANCE_SECONDS:
            self._asked = time.monotonic()
            self._lost = lost_batches(self.asset, self.ledger, self.run_id, self._lost)
        left = [batch_id for batch_id in batch_ids if batch_id not in self._lost]
        if stopped := len(batch_ids) - len(left):
            self.log.warning(f"more bad items than tolerated: {stopped} batches are not run")
        return left

    def _attempt(self, group: Sequence[str], begin: Begin, is_last: bool) -> Results:
        """Attempt a batch, or small ones together."""
        try:
            with mongodb_errors():
                begun = begin(group)
                ends = self._run_begun([begun[each] for each in group if each in begun], is_last)
        except Exception as error:  # noqa: BLE001  it is raised, or is an answer, in _fail
            return dict.fromkeys(group, error)

        answers = {
            batch_id: end
            if isinstance(end, Exception)
            else Answer(batch=batch_id, items=end.items, dead=end.dead)
            for batch_id, end in ends.items()
        }
        return dict.fromkeys(group) | answers

    def _run_begun(self, batches: Sequence[Batch], is_last: bool) -> Ends:
        ends: Ends = {}
        for batch in batches:
            if batch.unanswered > MAX_UNANSWERED and not batch.is_done:
                ends[batch.id] = self._give_up(batch)

        sound = [batch for batch in batches if batch.id not in ends]
        if len(sound) > 1:
            self.say(f"{len(sound)} small batches from {sound[0].id} on")
            with self.watch.over([batch.id for batch in sound], partial(self._allowed, sound)):
                return ends | run_together(self.ledger, self.store, sound, is_last)
        for batch in sound:
            ends[batch.id] = self._run(batch, is_last)
        return ends

    def _run(self, batch: Batch, is_last: bool) -> Outcome:
        """Run a batch: where it has ended workers, each call of the task in a process apart."""
        if self.is_isolated or batch.unanswered > MAX_PLAIN:
            self.log.warning(f"batch {batch.id}: each call of the task is made in a process apart")
            limits = Limits(self._seconds_per_item()[0], self.memory.slot_bytes)
            return run_begun(self.ledger, self.store, batch, is_last, self.say, limits)

        with self.watch.over([batch.id], partial(self._allowed, [batch])):
            return run_begun(self.ledger, self.store, batch, is_last, self.say)

    def _allowed(self, batches: Sequence[Batch]) -> float:
        """Return for how long a worker may be at batches before it counts as standing still."""
        cost, learned_from = self._seconds_per_item()
        items = sum(batch.items for batch in batches)
        ranges = sum(len(batch.ranges) for batch in batches)
        slack = SLACK if learned_from else UNKNOWN_SLACK
        least = LEAST_SECONDS if self.may_crowd else OBSERVING_SECONDS
        return max(least, slack * batch_seconds(cost, items, ranges))

    def _seconds_per_item(self) -> tuple[float, int]:
        """Return what an item is expected to take, and from how many batches that is known."""
        with mongodb_errors():
            return learn(self.asset.sizes, self.ledger.history(self.asset.name))

    def _give_up(self, batch: Batch) -> Refused:
        """Let a batch fail that ends its workers; return why."""
        why = (
            f"batch {batch.id} ended its worker {batch.unanswered - 1} times without a word: it "
            "was killed, crashed, or ran out of memory; its partition's next run tries it again"
        )
        self.ledger.fail(batch.id, why)
        return Refused(why)

    def _take_in(self, results: Results) -> None:
        """Answer for a group; what went wrong comes last, since it may be raised."""
        self.answers += [result for result in results.values() if isinstance(result, Answer)]
        for batch_id, result in results.items():
            if isinstance(result, Exception):
                self._fail(batch_id, result)

    def _fail(self, batch_id: str, error: Exception) -> None:
        """Raise what another attempt may mend; answer for all else, so that reconcile decides."""
        is_known = isinstance(error, FanfoldError)
        self.log.warning(f"batch {batch_id}: {error}", exc_info=None if is_known else error)
        if not isinstance(error, Refused) and not self.is_last:
            raise error

        self.answers.append(Answer(batch=batch_id, error=f"{type(error).__name__}: {error}"))
        if isinstance(error, Unavailable):
            raise ShareStopped("the others would each wait as long for the same server") from error
