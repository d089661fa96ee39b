"""Containers: formats that say by themselves where rows begin, and which columns there are.

What a block is belongs in formats/look, and where it is cut in sources/slicing. Read: kinds,
groups (of rows, wherever a file is cut), arrow_values (what a value becomes); parquet and
parquet_footer; orc, orc_messages, orc_footer, orc_process, orc_child (Arrow's, which damage may
end), orc_times, orc_integers; arrow, arrow_footer; avro, avro_framing, avro_codecs, avro_schema.
"""
