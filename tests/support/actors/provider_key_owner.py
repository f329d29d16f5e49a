"""The owner of provider keys, and the reader by IAM."""

from __future__ import annotations

from typing import Any

from support.actors.people import Holder
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.invocation import Answer

OPENAI = "/api/auth/transcription/openai"
ANTHROPIC = "/api/auth/providers/anthropic"
PLACES = {OPENAI: "transcription/openai", ANTHROPIC: "provider/anthropic"}
KEY = "made-up-" + "5ec2e7d00d" * 4


def put(front: Front, caller: Holder, path: str = ANTHROPIC, value: Any = KEY) -> Answer:
    """Store a provider key."""
    return front("PUT", path, key=caller.key, body={"apiKey": value})


def by_iam(front: Front, **event: Any) -> dict[str, Any]:
    """Invoke the function directly, as IAM allows."""
    answer: dict[str, Any] = front.function("secrets").handler(event, invocation.Context())
    return answer


def get(front: Front, caller: Holder, path: str = ANTHROPIC) -> dict[str, Any]:
    """Read a provider key by IAM."""
    return by_iam(front, do="get", account=caller.account_id, secret=PLACES[path])


def trail(front: Front, caller: Holder) -> list[dict[str, Any]]:
    """Read the audit events about secrets, oldest first."""
    events = front("GET", "/admin/audit", key=caller.key).json()["data"]["events"]
    return [event for event in events[::-1] if event["action"].startswith("secret.")]
