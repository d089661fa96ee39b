"""The work itself, in plain Python without Dagster; `python -m workers --batch ID` runs anywhere.

Who starts servers belongs in resources; what runs, and when, in pipelines. Read: steps (the seven
steps of a run); rooms in data order: declare, contributions, sources, ledger, planning, batch;
small, dealt, share, giving_way (a worker), isolation, launched, on_lambda (elsewhere); folding;
recompute, verify, contributors, explain; watching; tasks, web; what all stand on: values, store,
s3_errors, errors, retry, memory, settings; around runs: assets, rehearsal, examples, progress.
"""

__version__ = "0.1.0"  # of the distribution too; it need not be installed for a worker to know it
