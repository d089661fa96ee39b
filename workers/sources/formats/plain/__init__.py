"""From the bytes of a block to plain ones in UTF-8, a chunk at a time.

Which compression and encoding a block has belongs in formats/look. Read: compression, snappy (of
four kinds), buffered (what snappy reads from), encoding.
"""
