"""The stack's two tables, opened once per execution environment.

A handler that needs them on every request opens them at import, in Lambda's init phase
(docs/decisions/0007).
"""

from __future__ import annotations

from functools import cache

from gatehouse.core import settings
from gatehouse.dynamo.client import DynamoClient
from gatehouse.dynamo.table import Table, Tables


@cache
def client() -> DynamoClient:
    """Create the client of both tables. Sends nothing."""
    return DynamoClient()


@cache
def tables() -> Tables:
    """Open both tables."""
    return Tables(
        Table(settings.KEYS_TABLE.text(), client()), Table(settings.MAIN_TABLE.text(), client())
    )


@cache
def keys_table() -> Table:
    """Open table `keys`, the only one that the authorizer may read."""
    return Table(settings.KEYS_TABLE.text(), client())
