"""The assets there are: one declaration each. Their tasks are in workers/tasks/."""

from workers.model import Asset, Partitions, Sizes

USER_PROFILES = Asset(
    name="user_profiles",
    task="user_profiles",
    description=(
        "What each user did and likes: likes and clickstream under `events/dt={partition}/` "
        "folded into one MongoDB document a user."
    ),
    partitions=Partitions(every="day", start="1997-09-01"),
    template="events/dt={partition}/",
    # Events are cheap: a batch holds many, so that reading one block is worth a worker.
    sizes=Sizes(min_items=10_000, max_items=250_000, seconds_per_item=0.000_01),
    tolerated_count=20,
    tolerated_rate=0.01,
)

ASSETS = {asset.name: asset for asset in (USER_PROFILES,)}
