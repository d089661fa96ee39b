"""The `fanfold` commands: what people type, and what they see printed.

What a command does belongs in workers, or in pipelines/runs where it starts a run.

Read: start, main (all commands), console (how they print and reach servers), run, dead_letters,
batches, verdict, rebuild, progress and display (of a run, as it happens), outcome (of one that is
over); show (and explain, of a profile), readable; worker; local (servers), samples (data), demo.
"""
