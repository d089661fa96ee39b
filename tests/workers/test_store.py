"""What errors of S3 mean."""

import msgspec
import pytest

from workers.errors import Refused, Unavailable
from workers.settings import read_settings
from workers.store import open_store


def test_an_unreachable_s3_is_worth_a_retry_and_a_wrong_secret_is_not(pipeline):
    given = read_settings()
    for changed, kind in (
        ({"endpoint_url": "http://127.0.0.1:9"}, Unavailable),
        ({"aws_secret_access_key": "wrong"}, Refused),
    ):
        changed_settings = msgspec.structs.replace(given, s3=given.s3 | changed)
        store = open_store(changed_settings, patient=False)

        with pytest.raises(kind) as error:
            store.get("x")
        assert given.s3["aws_secret_access_key"] not in str(error.value)
