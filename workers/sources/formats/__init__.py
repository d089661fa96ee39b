"""How blocks are written: one file a format. Nothing here knows batches, plans or profiles.

Where blocks are cut belongs in sources/slicing; which fields an item needs in sources/items.

Read: format (what a suffix or a declaration says), reader (from a range to lines or rows), lines,
csv, rows, compression, parquet, parquet_footer (row groups, read without Arrow).
"""
