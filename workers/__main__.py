"""Run batches from the ledger, with nothing but the settings. Needs no Dagster.

    python -m workers --batch ID [ID ...]          each batch, and its outcome as JSON
    python -m workers --run ID --share NUMBER      what a run dealt to one of its workers

Exit codes: 0 each batch has an outcome, 1 some have none, 2 they cannot be run, 130 stopped.
"""

# ruff: noqa: E402  what makes imports cheap comes before them
import gc
import os

gc.disable()  # what is imported stays: looking for garbage in it takes 80 ms
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a worker is one slot; a thread costs 60 ms

import argparse
import json
import logging
import signal
import sys
import uuid
from collections.abc import Sequence

from workers.batch import attempt_batch
from workers.dealt import ShareReference
from workers.errors import FanfoldError
from workers.launched import STOPPED, exit_code, run_launched
from workers.ledger.heartbeat import heartbeat
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.settings import read_settings
from workers.store import BlockStore, open_store


def main() -> int:
    """Run what the command line names; return the exit code."""
    gc.freeze()
    gc.enable()
    options = read_options()
    # A worker that is told to end says so in the ledger, as after a Ctrl-C.
    # A shell that starts a command behind `&` has it ignore the one by which it is asked to stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)

    if options.batch:
        return run_batches(options.batch)
    ended = run_launched(reference_of(options))
    if ended.error:
        print(f"ERROR {ended.error}", file=sys.stderr)
    return ended.exit


def read_options() -> argparse.Namespace:
    """Return what the command line says; a wrong one ends here, with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", nargs="+", metavar="ID", help="as `fanfold batches` says")
    parser.add_argument("--run", metavar="ID", help="of the run")
    parser.add_argument("--share", type=int, metavar="NUMBER", help="as the run's log says")
    parser.add_argument("--last", action="store_true", help="a failure is the end of its batch")
    parser.add_argument("--isolated", action="store_true", help="call the task in processes apart")
    parser.add_argument("--worker", metavar="ID", help="a new one, to be known by in the ledger")

    options = parser.parse_args()
    is_share = options.run is not None and options.share is not None
    if is_share == bool(options.batch):
        parser.error("say either --batch, or --run and --share")
    return options


def reference_of(options: argparse.Namespace) -> ShareReference:
    """Return the share that the command line names."""
    worker = options.worker or uuid.uuid4().hex
    return ShareReference(
        run=options.run,
        number=options.share,
        is_last=options.last,
        is_isolated=options.isolated,
        worker=worker,
    )


def run_batches(batch_ids: Sequence[str]) -> int:
    """Run batches one after the other, and print the outcome of each."""
    try:
        settings = read_settings()
        with mongodb_errors():
            return _run_batches(Ledger(open_database(settings)), open_store(settings), batch_ids)
    except FanfoldError as error:
        print(error, file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return STOPPED


def _run_batches(ledger: Ledger, store: BlockStore, batch_ids: Sequence[str]) -> int:
    codes = [0]
    worker = uuid.uuid4().hex
    ledger.workers.enter(worker, step="batch")
    with heartbeat(ledger, worker) as heart:
        for batch_id in batch_ids:
            heart.say(f"batch {batch_id}")
            try:
                outcome = attempt_batch(ledger, store, batch_id, worker=worker)
            except FanfoldError as error:
                print(f"batch {batch_id}: {error}", file=sys.stderr)
                codes.append(exit_code(error))
            else:
                print(json.dumps({"batch": batch_id} | outcome.to_json()))
    return max(codes)


if __name__ == "__main__":
    code = main()
    gc.freeze()  # the process ends: to take apart what is left takes 200 ms
    sys.exit(code)
