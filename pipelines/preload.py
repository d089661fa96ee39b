"""What every op's process needs, imported and opened once before the first fork.

The local executor's fork server imports this module and nothing else does. Opening an instance
makes Alembic and SQLAlchemy read their files; a client makes boto3 read its model of S3. Forked
ops inherit what was read, and no connection: the instance is a throw-away one.
"""

import gc
import tempfile

import boto3
import dagster as dg

from pipelines.runs import resolve

with tempfile.TemporaryDirectory() as _folder, dg.DagsterInstance.local_temp(_folder):
    pass
boto3.client("s3", region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-")
resolve("user_profiles_job")
gc.freeze()  # or each fork's first collection would walk, and so copy, all of it
