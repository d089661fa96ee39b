"""One file an asset: the type of its items, its fields, its pure functions, and its declaration.

Any file put here is an asset. How chunks are read, failures are isolated and results are folded
belongs in the files above.
"""
