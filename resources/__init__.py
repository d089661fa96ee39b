"""Doors: settings in, worker objects out. Who starts servers, and how Dagster reaches them.

The work behind the doors belongs in `workers`; what uses them, and when, in `pipelines`.

Read: embedded (the local servers), servers (each one's command line), blocks, mongo, references.
"""
