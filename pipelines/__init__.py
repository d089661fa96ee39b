"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph), purposes, doors (to servers), jobs, schedules, sensors; definitions (all);
checks, findings, usual, up_to_date; catalogue, materialisation, chart, tables, counters (what UI
shows); errors, partial, failed_batches, lost_runs (what ends badly); executors, k8s, processes,
preload (who runs ops); requested, runs, location, summaries, variables; alerts/, launchers/, cli/.
"""

import resources  # noqa: F401  says what to install where Dagster is not
