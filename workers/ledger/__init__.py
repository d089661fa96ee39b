"""What MongoDB remembers of runs: a record, not a queue. Others get its documents as values.

What a run should do belongs in planning; when profiles are written, and how, in folding.

Read: mongo (the connection), rights (of its user), records (plans, batches), ledger, shares (of
batches), workers and heartbeat (who is at work), claims (who may fold), profiles, profile_writes,
known (ids), stays (of blocks), copies (which count), dead_letters, attempt (a worker's), counts,
losses (in words), removals, manifest (a run's record), fingerprint, folded, code_parts.
"""
