"""The command `fanfold`, which ends in one sentence where only a worker is installed."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from pipelines.cli import start  # noqa: PLC0415  so that its error can be told
    except ModuleNotFoundError as error:
        if error.name != "dagster":
            raise
        print(error, file=sys.stderr)
        sys.exit(2)

    start.main()


if __name__ == "__main__":
    main()
