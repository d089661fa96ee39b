"""How a worker is launched for a share of batches: in the op, beside it, or on somebody's machines.

All are alike: a reference goes in, what the worker says goes to the run's log, its exit code says
whether to try again, and the ledger alone what became of the batches. What the worker does belongs
in workers, who hands out ops in executors.
Read: launch (what a launcher gets), inline, process, lambda_function, ecs_task (one file each),
aws (the doors of those two), choice (which of them, by FANFOLD_LAUNCHER), attempt (an op's).
"""
