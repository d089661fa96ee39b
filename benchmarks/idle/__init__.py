"""A graph of mapped steps that do nothing, as a plain project of Dagster runs it and as ours does.

What a step costs here is all overhead. The plain one is a room of its own, since a process of each
of its steps imports what its job is in.

Read: plain (the graph, and its job by Dagster's defaults), ours (by our executor and resources).
"""
