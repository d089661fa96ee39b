"""What items say about profiles, and how it merges: pure functions, whatever the order.

What calls them for a batch belongs in workers/batch.py, what writes profiles in folding, and what
an author declares in declare.

Read: fields (what a profile holds), columns (what can be merged), texts and groups (rows by whole
numbers), exact (sums of floats), results (a batch's, merged), apart (of several batches), tables
(what a result holds), accumulators (states by profile), exchange, readers (what readers see).
"""
