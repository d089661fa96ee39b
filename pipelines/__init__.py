"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph), purposes, doors (to servers), checks, usual, jobs, schedules, sensors,
definitions; what ends badly: errors (the translator), partial, failed_batches, lost_runs; who runs
ops: executors, k8s, processes, preload; a run by command: requested, runs, location, summaries;
tables and counters for the UI; the rooms alerts, launchers (where workers run) and cli.
"""

import resources  # noqa: F401  says what to install where Dagster is not
