"""Requests to the routes of signals."""

from __future__ import annotations

from typing import Any

from support.actors.people import Holder
from support.aws.api_gateway import Front
from support.aws.invocation import Answer

NEVER = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
MINUTES = 60
DAYS = 86_400


def emit(front: Front, holder: Holder, **fields: Any) -> Answer:
    """Emit a pulse, or what `fields` say; `headers` are those of the request."""
    body = {"signal_type": "pulse", "content": "it beats", **fields}
    headers = body.pop("headers", None)
    return front("POST", "/emit", key=holder.key, body=body, headers=headers)


def emitted(front: Front, holder: Holder, **fields: Any) -> dict[str, Any]:
    """Emit a signal and return it as it is shown."""
    answer = emit(front, holder, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def act(front: Front, holder: Holder, what: str, signal: dict[str, Any]) -> Answer:
    """Send the signal to `/claim` or `/ack`."""
    return front("POST", f"/{what}", key=holder.key, body={"signal_id": signal["id"]})


def show(front: Front, holder: Holder, signal: dict[str, Any]) -> Answer:
    """Read a signal."""
    return front("GET", f"/signals/{signal['id']}", key=holder.key)


def listed(front: Front, holder: Holder, **query: str) -> list[str]:
    """Return the ids of a page of signals."""
    answer = front("GET", "/signals/list", key=holder.key, query=query)
    assert answer.status == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def check(answer: Answer, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Check the status, the code and the field of an error, and return the error."""
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), answer.text
    if field is not None:
        assert error["details"] == {"field": field}
    return error
