"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph), doors (to servers), checks, usual, jobs, schedules, sensors; definitions
(all of it); what ends badly: errors (the translator to Dagster's), partial (in part), lost_runs;
executors, k8s, processes, preload (who runs ops); requested, runs, location, summaries (a run by
command);
the rooms alerts (messages), launchers (where workers run) and cli (the commands).
"""

import resources  # noqa: F401  says what to install where Dagster is not
