"""One file a task: the type of its items, its fields, and its pure functions.

How chunks are read, failures are isolated and results are folded belongs in the files above.
"""
