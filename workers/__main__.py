"""Run one batch from the ledger: `python -m workers --batch ID`. Needs no Dagster.

Prints the outcome as JSON. Exit codes: 0 done, 1 the batch failed, 2 it cannot be run.
"""

import argparse
import json
import sys

from workers.batch import attempt_batch
from workers.errors import FanfoldError, Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.settings import read_settings
from workers.store import open_store


def main() -> int:
    """Run the batch named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--batch", required=True, metavar="ID", help="as `fanfold batches` says")
    batch_id = parser.parse_args().batch

    try:
        settings = read_settings()
        with mongodb_errors():
            ledger = Ledger(open_database(settings))
            outcome = attempt_batch(ledger, open_store(settings), batch_id)
    except FanfoldError as error:
        print(f"batch {batch_id}: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refused) else 1

    print(json.dumps({"batch": batch_id} | outcome.to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
