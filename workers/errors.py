"""What can go wrong, by what the caller should do about it. Bugs are not caught at all."""

from workers.values import Place

# What a sentence says where the same bytes cannot be had any more.
RUN_AGAIN = "run its partition again"


class FanfoldError(Exception):
    """Base of every error that Fanfold raises on purpose."""


class Unavailable(FanfoldError):
    """Retry: a server did not answer, and the same call may succeed later."""


class Malformed(FanfoldError):
    """Record: this item or block cannot be used, and no retry will change that."""

    def __init__(self, reason: str, place: Place | None = None) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason, self.place = reason, place


class Refused(FanfoldError):
    """Stop: going on would be wrong until a person has acted; the message says how."""
