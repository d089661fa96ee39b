"""What runs, when and in what order: the fan-out graph, assets, jobs, schedules, sensors.

The work inside an op belongs in `workers`; how servers are reached belongs in `resources`.

Read: fanout (the graph of every asset; workers/assets.py knows which there are), checks, jobs;
what starts runs: schedules, sensors; what becomes of them: lost, failures, ended, wording, sinks,
notices (who hears of it); definitions (all of it); runs, progress (a run by command, and how far it
is); and the commands: cli, console, cli_units, cli_letters, cli_local.
"""
