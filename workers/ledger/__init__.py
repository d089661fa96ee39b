"""What MongoDB remembers of runs: a record, not a queue. Others get its documents as values.

What a run should do belongs in planning; when profiles are written, and how, in folding.

Read: mongo (the connection), records (plans, batches and their states), ledger, shares (whose turn
a batch is), claims (who may fold, and what is closed), dead_letters, attempt (a worker's), profiles
(guarded writes), counts (planned against done), losses (what is lacking, in words), removals (what
went since), manifest (a run's record in S3), fingerprint (which failures are the same), folded.
"""
