"""Requests to the routes of webhooks."""

from __future__ import annotations

from typing import Any

from support.actors.people import Holder
from support.aws.api_gateway import Front
from support.aws.invocation import Answer

URL = "http://127.0.0.1:9000/in"
PATH = "/admin/webhooks"

VIEW = {
    *("id", "url", "filters", "active", "failing", "failure_count", "last_success_at"),
    *("last_failure_at", "disabled_reason", "description", "retry_schedule", "header_names"),
    *("created_by", "created_by_key", "created_at"),
}


def post_webhook(front: Front, admin: Holder, **fields: Any) -> Answer:
    """Ask for a webhook; `sent` are headers of the request."""
    body = {"url": URL, **fields}
    headers = body.pop("sent", None)
    return front("POST", PATH, key=admin.key, body=body, headers=headers)


def created(front: Front, admin: Holder, **fields: Any) -> dict[str, Any]:
    """Create a webhook and return it with its secret."""
    answer = post_webhook(front, admin, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def patch(front: Front, admin: Holder, webhook: dict[str, Any], **fields: Any) -> Answer:
    """Change fields of a webhook."""
    return front("PATCH", f"{PATH}/{webhook['id']}", key=admin.key, body=fields)


def rotate(front: Front, admin: Holder, webhook: dict[str, Any], **fields: Any) -> Answer:
    """Rotate a webhook's secret."""
    return front("POST", f"{PATH}/{webhook['id']}/rotate-secret", key=admin.key, body=fields)


def events(front: Front, admin: Holder) -> list[dict[str, Any]]:
    """Read the account's audit events, newest first."""
    return front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]
