"""Dagster's door to S3: ops and sensors that ask for `store` get a `BlockStore`."""

import dagster as dg

from resources.embedded import running_settings
from workers.store import BlockStore, open_store


class BlocksResource(dg.ConfigurableResource[BlockStore]):
    """The bucket that the settings name; see the README's table of settings."""

    def create_resource(self, context: dg.InitResourceContext) -> BlockStore:  # noqa: ARG002
        return open_store(running_settings())
