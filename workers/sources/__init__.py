"""Where items come from: blocks in S3, or another asset's profiles, listed, sliced and read.

What a run needs of them belongs in planning, the client of S3 in workers/store.py.

Read: source (what both kinds can do), objects (which are blocks), together (of many partitions),
blocks, profiles, heads (first bytes), slicing (gaps to ranges, by sampling), segments (of what
cannot be cut), items (typed, or rejected), unknown (fields), taken (and where each was read),
unique (copies left out), rests (items that an unread one may hold); formats, columns.
"""
