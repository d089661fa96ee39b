"""What Dagster's UI shows beside its own: pages of assets and of partitions, tables, counters.

Nothing here decides anything; words that go to a terminal or out as messages belong to cli, alerts.

Read: catalogue (of an asset), materialisation (of a partition), chart (its picture); tables (of a
run's steps and failures), failed_batches (red workers), counters (of a run on its way).
"""
