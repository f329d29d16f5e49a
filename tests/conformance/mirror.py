"""A DynamoDB client that sends each request to the double and to moto, and compares the answers.

Moto is asked by the client that runs in Lambda, over HTTP, so its requests, answers and errors
are compared as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from gatehouse.dynamo.answers import CallRefused
from gatehouse.dynamo.client import DynamoClient
from support.aws.expressions import Item
from support.aws.memory_dynamo import MemoryDynamo

_COMPARED = ("Item", "Attributes", "LastEvaluatedKey", "UnprocessedKeys", "UnprocessedItems")


class Mirror(MemoryDynamo):
    """Answers as the double does. An answer that moto does not share fails the test."""

    def __init__(self, wired: DynamoClient) -> None:
        super().__init__()
        self.moto: Any = boto3.client("dynamodb")
        self._wired = wired  # its server is moto
        self.answers: list[str] = []  # one for each request: its operation, and an error's code

    def add_table(self, name: str, properties: Mapping[str, Any]) -> None:
        """Make a table in memory and on moto."""
        super().add_table(name, properties)
        self.moto.create_table(TableName=name, **properties)

    def drop_table(self, name: str) -> None:
        """Compare all items of a table, then remove it from both."""
        assert self.items(name) == self.moto_items(name)
        super().drop_table(name)
        self.moto.delete_table(TableName=name)

    def items(self, name: str) -> list[Item]:
        """List a table's items in memory, in the order of their keys."""
        items = self.table(name).items
        return [items[key] for key in sorted(items)]

    def moto_items(self, name: str) -> list[Item]:
        """List a table's items on moto, in the order of their keys."""
        pages = self.moto.get_paginator("scan").paginate(TableName=name)
        found: list[Item] = [item for page in pages for item in page["Items"]]
        return sorted(found, key=lambda item: (item["pk"]["S"], item.get("sk", {}).get("S", "")))

    def _answer(self, name: str, request: Item, act: Callable[[Item], Item]) -> tuple[int, Item]:
        status, parsed = super()._answer(name, request, act)
        expected = self._of_moto(name, request)
        found = _comparable(parsed)
        assert found == expected, f"{name} {request}"
        self.answers.append(f"{name} {parsed['Error']['Code']}" if status >= 300 else name)
        return status, parsed

    def _of_moto(self, name: str, request: Item) -> Item:
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        # Only tests use what our client does not have.
        call = getattr(self._wired, operation, None) or getattr(self.moto, operation)
        try:
            return _comparable(call(**request))
        except (CallRefused, ClientError) as error:
            return _comparable(error.response)


def _comparable(parsed: Any) -> Item:
    """Reduce an answer to what the rooms and the tests read of it."""
    found: Item = {name: parsed[name] for name in _COMPARED if parsed.get(name)}
    if "Items" in parsed:
        found["Items"] = parsed["Items"]
    if "Responses" in parsed:  # DynamoDB returns them in no order
        found["Responses"] = {
            name: sorted(map(_in_order, items)) for name, items in parsed["Responses"].items()
        }
    if "Error" in parsed:
        found["Error"] = parsed["Error"]["Code"]
    if "CancellationReasons" in parsed:
        found["CancellationReasons"] = [
            (reason.get("Code"), reason.get("Item")) for reason in parsed["CancellationReasons"]
        ]
    return found


def _in_order(item: Item) -> list[tuple[str, str]]:
    return sorted((name, repr(value)) for name, value in item.items())
