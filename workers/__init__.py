"""The work itself, in plain Python: slicing, batches, contributions, folding, the ledger.

Nothing here knows Dagster; `python -m workers --batch ID` runs one batch anywhere.
Doors to servers (who starts them, how they are configured) belong in `resources`;
what runs, when and in what order belongs in `pipelines`.

Read: model, template, errors, settings, blocks; compression, lines, formats, footer, parquet,
items; exact, fields, task, tasks, assets; letters, epochs, ledger; sizing, pieces, slicing,
sources, plan; results, batch; counts, reconcile, states, fold; redrive, rebuild, manifest, verify;
progress; news and named (what is new, and what a queue says of it).
How web pages are visited is in web.
"""
