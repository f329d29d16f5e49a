"""DynamoDB's JSON protocol for servers on loopback: a request of the wire, and its answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatehouse.dynamo.answers import CallRefused


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its operation, headers by lower-case name, and its body."""

    operation: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. Its checksum and length are added."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Backend = Callable[[Asked], Said]


def of(client: Any) -> Backend:
    """Return a backend that passes requests to a client, such as the table in memory."""

    def answer(asked: Asked) -> Said:
        operation = getattr(client, re.sub(r"(?<!^)(?=[A-Z])", "_", asked.operation).lower())
        request = json.loads(asked.body, object_hook=_bytes)
        request.pop("ClientRequestToken", None)
        try:
            return Said(200, _json(operation(**request)))
        except CallRefused as refused:
            parsed = dict(refused.response)
            error, status = parsed.pop("Error"), parsed.pop("ResponseMetadata")["HTTPStatusCode"]
            kind = f"com.amazonaws.dynamodb.v20120810#{error['Code']}"
            return Said(status, _json(parsed | {"__type": kind, "message": error["Message"]}))

    return answer


def _json(answer: Any) -> bytes:
    return json.dumps(answer, default=lambda value: base64.b64encode(value).decode()).encode()


def _bytes(value: dict[str, Any]) -> dict[str, Any]:
    if value.keys() == {"B"} and isinstance(value["B"], str):
        return {"B": base64.b64decode(value["B"])}
    return value
