"""Conversion between plain values and DynamoDB's: str, int, bool, None, bytes, list and dict.

Numbers are whole; no fraction is stored. boto3.dynamodb.types is not used: it loads all of boto3 at
every cold start and returns each number as a Decimal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def marshal(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert plain values to DynamoDB's. Raises TypeError for any other type."""
    return {name: _encode(value) for name, value in item.items()}


def unmarshal(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert DynamoDB's values to plain ones."""
    return {name: _decode(value) for name, value in item.items()}


def _encode(value: Any) -> dict[str, Any]:
    encoded: dict[str, Any]
    if value is None:
        encoded = {"NULL": True}
    elif isinstance(value, str):
        encoded = {"S": value}
    elif isinstance(value, bool):  # before int, which it also is
        encoded = {"BOOL": value}
    elif isinstance(value, int):
        encoded = {"N": str(value)}
    elif isinstance(value, bytes):
        encoded = {"B": value}
    elif isinstance(value, Mapping):
        encoded = {"M": marshal(value)}
    elif isinstance(value, list | tuple):
        encoded = {"L": [_encode(entry) for entry in value]}
    else:
        raise TypeError(f"cannot store a {type(value).__name__} in DynamoDB")
    return encoded


def _decode(value: Mapping[str, Any]) -> Any:
    [(kind, content)] = value.items()
    if kind in {"S", "BOOL", "B"}:
        return content
    if kind == "N":
        return int(content)
    if kind == "L":
        return [_decode(entry) for entry in content]
    if kind == "M":
        return unmarshal(content)
    if kind == "NULL":
        return None
    raise TypeError(f"cannot read the DynamoDB type {kind}")
