"""Where items come from: blocks in S3, or another asset's profiles, listed, sliced and read.

What a run needs of them belongs in planning, what items say in the tasks, and the client of S3
in workers/store.py.

Read: source (what both kinds can do), blocks, profiles, slicing (ranges, from samples), segments
(of large blocks that cannot be cut), items (typed, or rejected); formats.
"""
