"""The dead letters of one attempt at a batch, counted and recorded while the attempt reads."""

from workers.ledger.dead_letters import DeadLetter, DeadLetters, dead_letter_id
from workers.ledger.records import AttemptId, Batch
from workers.values import Place, Range


class AttemptLetters:
    """Dead letters, held until they are recorded; of a redrive also those that it ran again."""

    def __init__(self, dead_letters: DeadLetters, batch: Batch, attempt_id: AttemptId) -> None:
        self.dead_letters = dead_letters
        self.batch = batch
        self.attempt_id = attempt_id
        self.count = 0
        # Those that are not on record yet.
        self._waiting: list[DeadLetter] = []
        # Of a redrive: the letters whose items were met, whatever became of them.
        self._met: set[str] = set()

    def add_malformed(self, range_: Range, place: Place, reason: str, item: bytes) -> None:
        """Hold the letter of an item that cannot be read."""
        self._add(DeadLetter.malformed(self.batch, range_, place, reason, item))

    def add_bug(
        self, range_: Range, place: Place, error: Exception, file: str, item: bytes
    ) -> None:
        """Hold the letter of an item on which the task in this file raised an error."""
        self._add(DeadLetter.bug(self.batch, range_, place, error, file, item))

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
