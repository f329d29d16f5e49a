"""In this folder DynamoDB is the double and moto at once; see mirror.py."""

from __future__ import annotations

import pytest

from conformance.mirror import Mirror
from gatehouse.dynamo import connection


@pytest.fixture(scope="module")
def dynamo(aws: pytest.MonkeyPatch) -> Mirror:
    """A client that compares the double with moto, without tables."""
    made = Mirror()
    aws.setattr(connection, "client", lambda: made)
    return made
