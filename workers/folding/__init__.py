"""From finished batches to profiles, exactly once, whatever else runs or dies.

How values merge belongs in contributions; who may fold is kept in ledger/claims.

Read: review (outcomes against plans), reconcile (claims, and shards of profiles), fold (a shard),
holdings (what profiles hold, and claims change), said (what results say), writing, merging,
renewing, publish (what came of it, on record). Why it is exact: docs/decisions/0002 and 0017.
"""
