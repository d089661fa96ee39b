"""What one attempt at a batch notes while it reads: its dead letters, and what readers warn of."""

from collections.abc import Iterable

from workers.isolation.trial import EndedWorker
from workers.ledger.dead_letters import DeadLetter, DeadLetters, dead_letter_id
from workers.ledger.records import AttemptId, Batch
from workers.values import BlockWarning, Place, Range

MAX_WARNINGS = 20  # sentences of readers that an outcome keeps


class AttemptLetters:
    """Dead letters, held until they are recorded; of a redrive also those that it ran again."""

    def __init__(self, dead_letters: DeadLetters, batch: Batch, attempt_id: AttemptId) -> None:
        self.dead_letters = dead_letters
        self.batch = batch
        self.attempt_id = attempt_id
        self.count = 0
        # Those of them that stand for a rest of a block, and about how many items these hold.
        self.rests = 0
        self.rest_items = 0
        # Those that are not on record yet.
        self._waiting: list[DeadLetter] = []
        # Of a redrive: the letters whose items were met, whatever became of them.
        self._met: set[str] = set()

    def add_malformed(self, range_: Range, place: Place, reason: str, item: bytes) -> None:
        """Hold the letter of an item that cannot be read."""
        self._add(DeadLetter.malformed(self.batch, range_, place, reason, item))

    def add_rest(self, range_: Range, place: Place, reason: str, items: int) -> None:
        """Hold the letter of a rest of a block, which holds about so many items."""
        self.rests += 1
        self.rest_items += items
        self._add(DeadLetter.rest(self.batch, range_, place, reason, items))

    def add_bug(
        self, range_: Range, place: Place, error: Exception, file: str, item: bytes
    ) -> None:
        """Hold the letter of an item on which the task in this file raised an error."""
        self._add(DeadLetter.bug(self.batch, range_, place, error, file, item))

    def add_ended(self, range_: Range, place: Place, error: EndedWorker, item: bytes) -> None:
        """Hold the letter of an item that ended the worker which tried it, or would not end."""
        self._add(DeadLetter.ended(self.batch, range_, place, error, item))

    def _add(self, letter: DeadLetter) -> None:
        self.count += 1
        self._waiting.append(letter)
        if self.batch.is_redrive:
            self._met.add(letter.id)

    def mark_used(self, range_: Range, place: Place) -> None:
        """Note that a redrive used the item at a place."""
        if self.batch.is_redrive:
            self._met.add(dead_letter_id(self.batch.asset, range_.key, range_.etag, place))

    def record(self) -> None:
        """Write the letters that are held."""
        self.dead_letters.record(self.batch, self.attempt_id, self._waiting)
        self._waiting = []

    def record_unmet(self) -> None:
        """Count the letters whose items a redrive did not even meet: they are as dead as before."""
        unmet = set(self.batch.redrives) - self._met
        if unmet:
            self.count += len(unmet)
            self.dead_letters.record_again(self.attempt_id, unmet)


class AttemptWarnings:
    """What readers warn of, up to a number of sentences, with the blocks that it is true of."""

    def __init__(self) -> None:
        # By sentence: the keys of blocks, in the order in which they were read.
        self._keys: dict[str, dict[str, None]] = {}

    def add(self, range_: Range, sentences: Iterable[str]) -> None:
        """Note what a reader says of the block of a range."""
        for sentence in sentences:
            if sentence in self._keys or len(self._keys) < MAX_WARNINGS:
                self._keys.setdefault(sentence, {})[range_.key] = None

    def listed(self) -> list[BlockWarning]:
        """Return a warning for each sentence."""
        return [
            BlockWarning(sentence=sentence, block=next(iter(keys)), blocks=len(keys))
            for sentence, keys in self._keys.items()
        ]
