"""How blocks are written: one file a format. Nothing here knows batches, plans or profiles.

Where blocks are cut belongs in sources/slicing; which fields an item needs in sources/items.
Read: look, marks (what a block is), format, declared (what is said of it), shape (of JSON), header
(the columns of an item), reader (from a range to lines or rows), rows; lines, values and brackets
(of JSON), csv, csv_chunks, csv_records, quotes, text, patterns (of logs), w3c; containers; plain.
"""
