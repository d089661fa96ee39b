"""The task that does nothing with its items: what a batch of it costs is reading them to frames."""

import pandas as pd

from workers.declare import Contributions, Sum, Task, rows
from workers.tasks.user_profiles import Event


def contributions(events: pd.DataFrame) -> Contributions:
    """Say how many events there are, in one row."""
    return {"events": rows(pd.Series(["all"]), len(events))}


task = Task(item=Event, fields={"events": Sum()}, contributions=contributions)
