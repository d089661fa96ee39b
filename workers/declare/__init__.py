"""What an author writes: the asset's declaration, its task, the fields of its profiles.

An asset's file needs this one import: `from workers.declare import Asset, Task, Sum, ...`. How
values merge belongs in contributions, how items are read in sources.

Read: asset (partitions, sizes, tolerance, schedule, watch), template (where blocks lie), beside
(what lies there and is no data), types and times (what an item's fields can be), task (what items
say; how a task observes the world), versions (of its code).
"""

from workers.contributions.exact import root, squares
from workers.contributions.fields import (
    Gone,
    Latest,
    LatestBy,
    Marked,
    Max,
    MaxBy,
    Min,
    MinBy,
    Set,
    Sum,
    SumBy,
)
from workers.declare.asset import Asset, Partitions, Schedule, Sizes, Tolerance, Watch
from workers.declare.task import Contributions, Observe, Task, rows
from workers.declare.times import Time
from workers.declare.types import Key, Number, Text
from workers.values import Document, digest

__all__ = [
    "Asset",
    "Contributions",
    "Document",
    "Gone",
    "Key",
    "Latest",
    "LatestBy",
    "Marked",
    "Max",
    "MaxBy",
    "Min",
    "MinBy",
    "Number",
    "Observe",
    "Partitions",
    "Schedule",
    "Set",
    "Sizes",
    "Sum",
    "SumBy",
    "Task",
    "Text",
    "Time",
    "Tolerance",
    "Watch",
    "digest",
    "root",
    "rows",
    "squares",
]
