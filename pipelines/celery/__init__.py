"""Ops on workers of a cluster: a run sends steps through a broker, `fanfold worker` takes them.

How an op works belongs in workers, what other executors do in pipelines/executors.

Read: broker (the queue of steps), handler (a step is sent, looked after, stopped), executor (what
Dagster calls), worker (who takes steps). Why it is not Dagster's own: docs/decisions/0020.
"""
