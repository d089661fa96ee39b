"""What every op's process needs, imported and opened once before the first fork.

The local executor's fork server imports this module and nothing else does. Opening an instance
makes Alembic and SQLAlchemy read their files; a client makes boto3 read its model of S3. Forked
ops inherit what was read, and no connection: the instance is a throw-away one.
"""

import gc
import tempfile
from pathlib import Path

import boto3
import dagster as dg

from pipelines.jobs import job_name, redrive_job_name
from pipelines.runs import resolve
from workers.assets import assets

with tempfile.TemporaryDirectory() as _folder:
    (Path(_folder) / "dagster.yaml").touch()
    dg.DagsterInstance.local_temp(_folder).dispose()

# Made-up credentials keep boto3 from looking for real ones, which can mean the network.
boto3.client(
    "s3",
    region_name="us-east-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",  # noqa: S106
)

for _asset in assets().values():
    resolve(job_name(_asset))
    resolve(redrive_job_name(_asset))

gc.freeze()  # or each fork's first collection would walk, and so copy, all of it
