"""DynamoDB's errors told once, in our words, and writes that happen together or not at all.

A condition that fails is a value's worth of information, so it comes with the item
that stood there (ALL_OLD).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.attributes import marshal, unmarshal

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]

# What a caller can do nothing about, and what passes by itself.
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ResourceNotFoundException",  # the table is being made, or was taken away
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)


class ConditionFailed(Exception):
    """The condition did not hold; `item` is what stood there, None where nothing did."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("condition failed")
        self.item = item


class TransactionConflict(Exception):
    """Another transaction held one of the items. Nothing was written; try again."""


class TransactionCanceled(Exception):
    """A condition of the transaction failed. Nothing was written.

    `failed` maps the position of each write whose condition failed to the item that stood
    there. `conflict` is True where (also) another transaction was in the way.
    """

    def __init__(self, failed: Mapping[int, Item | None], *, conflict: bool) -> None:
        super().__init__(f"canceled: {sorted(failed)}, conflict: {conflict}")
        self.failed = dict(failed)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a transaction, in DynamoDB's own words."""

    kind: str  # Put, Update, ConditionCheck or Delete
    request: Mapping[str, Any]


def transact(client: DynamoDBClient, writes: Sequence[Write]) -> None:
    """Do all writes or none. Raises TransactionCanceled, TransactionConflict or Unavailable."""
    items: list[Any] = [{write.kind: dict(write.request)} for write in writes]
    call(client.transact_write_items, TransactItems=items)


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """Call DynamoDB and tell its errors in our words; what has none passes through."""
    try:
        return operation(**request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
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
    except BotoCoreError as error:
        # Unreachable, timed out, no credentials yet: the request's fate is not ours to guess.
        raise Unavailable from error


def walk(
    client: DynamoDBClient,
    table: str,
    *,
    index: str,
    besides: tuple[str, str],
    after: Item | None,
    limit: int,
) -> tuple[list[Item], Item | None]:
    """Look at `limit` items of a whole index, in no order, and say where to go on, None at the end.

    A scan, so only for an index that holds few items. `besides` is an attribute's name and the
    value whose items are left out.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "IndexName": index,
        "FilterExpression": "attribute_not_exists(#name) OR #name <> :value",
        "ExpressionAttributeNames": {"#name": besides[0]},
        "ExpressionAttributeValues": marshal({":value": besides[1]}),
        "Limit": limit,
    }
    if after is not None:
        request["ExclusiveStartKey"] = marshal(after)
    answer = call(client.scan, **request)
    last = answer.get("LastEvaluatedKey")
    return [unmarshal(item) for item in answer["Items"]], unmarshal(last) if last else None


def _canceled(error: ClientError) -> Exception:
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
