"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph), purposes, doors (to servers), jobs, schedules, sensors; definitions (all
of it); errors (the translator to Dagster's), partial, lost_runs (what ends badly); executors, k8s,
processes, preload (who runs ops); requested, runs, location, summaries (by command); variables,
links; the rooms checks, pages (of the UI), alerts (messages), launchers (of workers), cli.
"""

import resources  # noqa: F401  says what to install where Dagster is not
