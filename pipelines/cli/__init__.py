"""The `fanfold` commands: what people type, and what they see printed.

What a command does belongs in workers, or in pipelines/runs where it starts a run.

Read: start, main, commands and machine (what there is, without Dagster), later, completion; console
(what they share); plan, run, batches, verdict, dead_letters, redrive, rebuild, worker; show (and
explain), readable; progress and display (of a run), outcome (of one that is over); status, servers,
runs_in_progress; local (what is on this machine), samples (data), demo.
"""
