"""What every op's process needs, imported and opened once before the first fork.

The local executor's fork server imports this module, and so does `fanfold worker`, before either
forks. Opening the instance imports what its storage needs, and may make Alembic read its files; a
client makes boto3 read its model of S3; the first plan of a job makes Dagster build its schemas.
Forked ops inherit what was read, and no connection: the instance is closed again, and the client of
S3 has not asked for anything yet.
"""

# ruff: noqa: E402  the collector is off before anything large is imported
import gc

gc.disable()  # what is imported stays, and looking for garbage in it is a quarter of the time

import os
import time
from contextlib import suppress

import dagster as dg
from dagster._core.execution.api import create_execution_plan
from sqlalchemy.exc import OperationalError

from pipelines.jobs import job_name, redrive_job_name
from pipelines.runs import reconstructable
from resources.blocks import shared_store
from resources.s3 import S3, arguments_of
from workers.assets import assets
from workers.errors import Refused
from workers.settings import read_settings

if "DAGSTER_HOME" in os.environ:
    try:
        dg.DagsterInstance.get().dispose()
    except OperationalError:  # two workers made the tables of a new SQLite at once, and one lost
        time.sleep(2)
        dg.DagsterInstance.get().dispose()

with suppress(Refused):  # the first op says so
    shared_store(read_settings(s3=arguments_of(S3)))

for _asset in assets().values():
    for _name in (job_name(_asset), redrive_job_name(_asset)):
        create_execution_plan(reconstructable(_name), run_config={})

gc.freeze()  # or each fork's first collection would walk, and so copy, all of it
gc.enable()
