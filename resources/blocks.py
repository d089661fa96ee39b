"""Dagster's door to S3: ops and sensors that ask for `blocks` get a `BlockStore`."""

import dagster as dg

from resources import embedded
from workers import blocks
from workers.blocks import BlockStore


class BlocksResource(dg.ConfigurableResource[BlockStore]):
    """The bucket that the settings name; see the README's table of settings."""

    def create_resource(self, context: dg.InitResourceContext) -> BlockStore:  # noqa: ARG002
        return blocks.connect(embedded.settings())
