"""Items by columns: the frame that a task gets, and what is read into it without making items.

What is read one by one belongs in sources/items, how blocks are written in sources/formats.

Read: frames (of items, however they were read), json_lines and batches (chunks that surely say the
same by columns), conversion and text (of values).
"""
