"""What items say about profiles, and how it merges: pure functions, whatever the order.

What calls them for a batch belongs in workers/batch.py, what writes profiles in folding, and what
an author declares in declare.

Read: fields (what a profile holds), columns (what can be merged at all), exact (sums of floats),
few (the same for few rows), results (a batch's result, as a table), accumulators (results merged by
profile, and what readers see of them).
"""
