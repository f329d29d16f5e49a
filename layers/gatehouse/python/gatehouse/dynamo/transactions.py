"""Transactions, and DynamoDB's errors as exceptions of ours.

A failed condition carries the item as it is (ALL_OLD), which says why the condition failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.answers import CallRefused, CallUnanswered
from gatehouse.dynamo.attributes import unmarshal

if TYPE_CHECKING:
    from gatehouse.dynamo.client import DynamoClient

Item = dict[str, Any]

# Errors that pass by themselves; a caller can only try again later.
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ResourceNotFoundException",  # the table is being created or was deleted
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)


class ConditionFailed(Exception):
    """The condition failed; `item` is the existing item, None if there is none."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("condition failed")
        self.item = item


class TransactionConflict(Exception):
    """Another transaction was writing one of the items. Nothing was written; try again."""


class TransactionCanceled(Exception):
    """The transaction was canceled. Nothing was written.

    `failed` maps the position of each write whose condition failed to the existing item, None if
    there is none. `conflict` is True if another transaction was writing one of the items.
    """

    def __init__(self, failed: Mapping[int, Item | None], *, conflict: bool) -> None:
        super().__init__(f"canceled: {sorted(failed)}, conflict: {conflict}")
        self.failed = dict(failed)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a transaction, as DynamoDB takes it."""

    kind: str  # Put, Update, ConditionCheck or Delete
    request: Mapping[str, Any]


def transact(client: DynamoClient, writes: Sequence[Write]) -> None:
    """Make all writes or none. Raises TransactionCanceled, TransactionConflict, Unavailable."""
    items: list[Any] = [{write.kind: dict(write.request)} for write in writes]
    call(client.transact_write_items, TransactItems=items)


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """Call DynamoDB; raise its errors as those above. An unknown error is raised as it is."""
    try:
        return operation(**request)
    except CallRefused as error:
        code = error.code
        if code == "ConditionalCheckFailedException":
            old: Any = error.response.get("Item")
            raise ConditionFailed(unmarshal(old) if old else None) from error
        if code == "TransactionConflictException":
            raise TransactionConflict from error
        if code == "TransactionCanceledException":
            raise _canceled(error) from error
        if code in _TRANSIENT:
            raise Unavailable from error
        raise
    except CallUnanswered as error:
        raise Unavailable from error


def _canceled(error: CallRefused) -> Exception:
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code", "None") for reason in reasons]
    failed = {
        position: unmarshal(reason["Item"]) if reason.get("Item") else None
        for position, reason in enumerate(reasons)
        if reason.get("Code") == "ConditionalCheckFailed"
    }
    conflict = "TransactionConflict" in codes
    if failed or conflict:
        return TransactionCanceled(failed, conflict=conflict)
    if any(code in {"ProvisionedThroughputExceeded", "ThrottlingError"} for code in codes):
        return Unavailable()
    return error
