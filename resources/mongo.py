"""Dagster's door to MongoDB: ops and sensors that ask for `mongo` get a `Database`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pymongo.database import Database

from resources.s3 import location_settings
from workers.ledger.mongo import open_database


class MongoResource(dg.ConfigurableResource[Database[dict[str, Any]]]):
    """The database that the settings name; one client for as long as an op runs."""

    @contextmanager
    def yield_for_execution(
        self, _context: dg.InitResourceContext
    ) -> Iterator[Database[dict[str, Any]]]:
        database = open_database(location_settings())
        with database.client:
            yield database
