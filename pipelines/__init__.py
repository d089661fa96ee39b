"""What runs, when, and who hears of it: everything that knows Dagster's graph and runs.

The work inside an op belongs in workers, how servers are reached in resources.

Read: fanout (the graph of every asset), doors (to the servers), checks, jobs; what starts runs:
schedules, sensors; what ends badly: errors (the translator to Dagster's), partial (for some of its
partitions), lost_runs; definitions (all of it); executors, k8s, processes and preload (who runs
ops); requested (what runs are for), runs and summaries (a run by command); the rooms alerts
(messages), launchers (where workers run) and cli (the commands).
"""

import resources  # noqa: F401  says what to install where Dagster is not
