"""The write by which a change is listed when the key that made it is revoked with descendants."""

from __future__ import annotations

from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table, Write
from gatehouse.revocation import store


def changed(table: Table, call: Call, target: str) -> dict[str, Write]:
    """Return the write `changed`, of a change that raises a thing, revives it or redirects it.

    `target` is its name in audit events. The last such change of a thing counts.
    """
    return {"changed": store.put_changed(table, call, target)}
