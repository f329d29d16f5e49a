"""In this folder DynamoDB is the double and moto at once; see mirror.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.mirror import Mirror
from gatehouse.dynamo import connection, kept_connections
from gatehouse.dynamo.client import DynamoClient
from support.aws import table_server


@pytest.fixture(scope="module")
def dynamo(aws: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A client that compares the double with moto, without tables."""
    with table_server.serve(table_server.moto) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
            wired = DynamoClient()
        # Moto does not recognize the second attempt of a transaction.
        aws.setattr(kept_connections, "READ_TIMEOUT", 60)
        made = Mirror(wired)
        aws.setattr(connection, "client", lambda: made)
        yield made
        wired.close()
