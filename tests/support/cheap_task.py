"""The cheapest task there is: counts events, and the items they are about.

Ten thousand blocks are about reading them; what a larger task costs for each is left out.
"""

import pandas as pd

from workers.declare import Contributions, Sum, SumBy, Task, rows
from workers.tasks.user_profiles import Event


def contributions(events: pd.DataFrame) -> Contributions:
    """Count a user's events, and the items among them."""
    about = events[["user", "item"]].dropna()
    return {"events": rows(events["user"]), "items": rows(about["user"], key=about["item"])}


task = Task(item=Event, fields={"events": Sum(), "items": SumBy()}, contributions=contributions)
