"""What the checks say of each partition: lost, twice, tolerated, usual, up to date.

What is counted belongs in workers/ledger, what is recomputed in workers/verify; these look at both.

Read: evaluation (the checks of an asset, and how what they find is logged), findings (of folded and
of refused partitions), usual (the check `as_usual`), up_to_date.
"""
