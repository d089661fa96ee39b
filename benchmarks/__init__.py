"""Measurements beside scripts and other engines: they print ratios, and assert nothing about time.

Rules are shown by `tests`; what competes has to leave the same documents, or the benchmark ends.

Read: __main__ (the command), scale, process (one measurement), surroundings (servers, blocks),
events (the data); the parts overhead (idle), whole_job (fanfold; scripts and their counts; native;
peers; documents compares what they leave), fold and formats (plain_steps, reading_task,
arrow_readers, polars_readers), growth, small, unique; figures (ratios from seconds), environment,
chart; scheduler (shares and deaths of workers at any size, simulated: docs/scale.md).
"""
