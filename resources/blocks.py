"""Dagster's door to S3: ops and sensors that ask for `store` get a `BlockStore`."""

from functools import lru_cache

import dagster as dg
import msgspec
from dagster_aws.s3 import S3Resource

from resources.embedded import running_settings
from resources.s3 import arguments_of
from workers.settings import Settings
from workers.store import BlockStore, open_store
from workers.values import learn


class BlocksResource(dg.ConfigurableResource[BlockStore]):
    """The bucket that the settings name, in the S3 of a resource of dagster-aws."""

    s3: dg.ResourceDependency[S3Resource]

    def create_resource(self, context: dg.InitResourceContext) -> BlockStore:  # noqa: ARG002
        return shared_store(running_settings(s3=arguments_of(self.s3)))


def shared_store(settings: Settings) -> BlockStore:
    """Return the bucket that settings name, the same for all that asks in this process.

    A client has no connection until it is used, so a process forked before that can use it too.
    """
    return _store(msgspec.json.encode(settings))


@lru_cache(maxsize=4)
def _store(settings: bytes) -> BlockStore:
    learn(Settings)
    return open_store(msgspec.json.decode(settings, type=Settings))
