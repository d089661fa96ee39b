"""A share that is run by its reference, in whatever process: settings and the ledger say the rest.

This is what a launcher relies on: a reference goes in, and `Ended` comes out.
"""

import logging

from workers.assets import declared_asset
from workers.dealt import ShareReference, answers_of, dealt_share
from workers.declare.task import load_task
from workers.errors import FanfoldError, Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.settings import read_settings
from workers.share import HasTime, ShareRunner, always
from workers.store import BlockStore, open_store
from workers.values import Value

ALL_ANSWERED = 0  # each batch has an outcome
SOME_OPEN = 1  # some batches have none: another attempt may mend that
CANNOT_RUN = 2  # until a person has acted
STOPPED = 130  # somebody asked for it

log = logging.getLogger(__name__)


class Ended(Value, frozen=True, kw_only=True):
    """How a worker ended; messages of it are for people alone."""

    exit: int
    # Batches without an outcome; None where it ended by an error.
    left: int | None = None
    error: str = ""


def run_launched(reference: ShareReference, has_time: HasTime = always) -> Ended:
    """Run a share, as long as there is time; an error of ours is said, any other is raised."""
    try:
        settings = read_settings()
        with mongodb_errors():
            database = open_database(settings)
            with database.client:
                left = _run(Ledger(database), open_store(settings), reference, has_time)
    except FanfoldError as error:
        return Ended(exit=exit_code(error), error=str(error))
    except KeyboardInterrupt:
        return Ended(exit=STOPPED, error="the worker was asked to stop")
    return Ended(exit=SOME_OPEN if left else ALL_ANSWERED, left=left)


def _run(ledger: Ledger, store: BlockStore, reference: ShareReference, has_time: HasTime) -> int:
    """Run what is left of a share, and return how many of its batches have no outcome then."""
    name, share = dealt_share(ledger, reference.run, reference.number)
    asset = declared_asset(name)
    answered = {answer.batch for answer in answers_of(ledger, share.batches)}
    left = [batch_id for batch_id in share.batches if batch_id not in answered]

    task = load_task(asset.task)
    ShareRunner(asset, task, ledger, store, reference, log, has_time).run(left)
    count = len(answers_of(ledger, share.batches))
    log.info(f"{count} of {len(share.batches)} batches of the share have an outcome")
    return len(share.batches) - count


def exit_code(error: FanfoldError) -> int:
    """Return what a worker ends with after an error."""
    return CANNOT_RUN if isinstance(error, Refused) else SOME_OPEN
