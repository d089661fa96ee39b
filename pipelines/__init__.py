"""What runs, when and in what order: the fan-out graph, assets, jobs, schedules, sensors.

The work inside an op belongs in `workers`; how servers are reached belongs in `resources`.

Read: assets (what there is), fanout (the graph), checks, jobs, schedules, sensors, definitions,
runs, and the commands: cli, console, cli_units, cli_letters, cli_local.
"""
