"""A table on which nobody can move the head of an audit chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatehouse.dynamo.answers import CallRefused
from support.actors.visitor import Visitor
from support.aws.faults import conflict_in_transaction


def busy_chain(caller: Visitor) -> Callable[[int, str], Any]:
    """Let every transaction that moves the head of the account's chain meet a conflict."""
    client = caller.tables.main.client
    real = client.transact_write_items

    def transact(**request: Any) -> Any:
        items = [next(iter(item.values())) for item in request["TransactItems"]]
        heads = [item for item in items if item.get("Item", {}).get("sk") == {"S": "HEAD"}]
        if heads:
            raise conflict(len(items))
        return real(**request)

    return transact


def conflict(writes: int) -> Exception:
    """Return the error of a transaction with that many writes that met another one."""
    return CallRefused(conflict_in_transaction(writes)[1], "TransactWriteItems")
