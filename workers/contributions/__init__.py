"""What items say about profiles, and how it merges: pure functions, whatever the order.

What calls them for a batch belongs in workers/batch.py, what writes profiles in folding, and what
an author declares in declare.

Read: fields (what a profile holds), columns (what can be merged at all), texts and groups (rows by
whole numbers), exact (sums of floats), results (contributions merged, a batch's result), tables
(what a result holds), accumulators (states by profile), exchange, readers (what readers see).
"""
