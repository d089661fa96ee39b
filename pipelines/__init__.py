"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph), doors (to servers), jobs, schedules, sensors; catalogue, materialisation,
chart (what the UI shows); checks, findings, usual, up_to_date; definitions (all of it); what ends
badly: errors, partial (in part), lost_runs; executors, k8s, processes, preload (who runs ops);
requested, runs, summaries (by command); the rooms alerts, launchers (of workers), cli (commands).
"""

import resources  # noqa: F401  says what to install where Dagster is not
