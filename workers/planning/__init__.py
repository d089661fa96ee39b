"""What a run has to do: from partitions to batches, and to the shares of its workers.

How a block is cut belongs in sources, what is remembered in ledger, what becomes of it in folding.

Read: listing (what is new in a partition), turnover (blocks that came and left), remarks, sizing,
slots (workers at once), packing (ranges to batches), plans (all of it); redrive, rebuild,
beginnings, whereabouts, changed_code (cost); not_folded, standing (of an asset).
"""
