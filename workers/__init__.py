"""The work itself, in plain Python: slicing, batches, contributions, folding, the ledger.

Nothing here knows Dagster; `python -m workers --batch ID` runs one batch anywhere.
Doors to servers (who starts them, how they are configured) belong in `resources`;
what runs, when and in what order belongs in `pipelines`.

Read: model, errors, settings, blocks, formats, fields, task, slicing, plan, batch, fold,
ledger, verify, tasks.
"""
