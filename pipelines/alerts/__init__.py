"""Who hears of runs that ended: one message for what failed, recovered or has warnings.

Runs send nothing, and know nothing of this room; what a run records belongs in workers/ledger.

Read: sensor (looks for ended runs, and delivers), run_records (what Dagster keeps of a run), report
(what became of an asset in it), alert (what of that is new), messages (how that reads), channels
(log, webhook, SNS).
"""
