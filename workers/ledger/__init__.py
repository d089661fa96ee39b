"""What MongoDB remembers of runs: a record, not a queue. Others get its documents as values.

What a run should do belongs in planning; when profiles are written, and how, in folding.

Read: mongo (the connection), rights (its user's), records (plans, batches), ledger, shares, workers
and heartbeat, claims (who may fold), profiles, profile_writes, known (ids), stays (of blocks),
copies, dead_letters, attempt (a worker's), moments (with items), unknown (fields), counts, losses,
measures and usual (what is), removals, manifest, fingerprint (of sentences), folded, code_parts.
"""
