"""Helpers of the tests of services: register, list and check."""

from __future__ import annotations

import socket
import time
from typing import Any

from support.actors.people import Holder
from support.actors.receivers import response, saying
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.invocation import Answer

VIEW = {
    *("name", "kind", "status", "healthy", "listening", "healthUrl", "latencyMs", "lastChecked"),
    *("logGroup", "detail"),
}
HEALTHY = saying(response(b"well"))
UNHEALTHY = saying(response(b"ill", status="503 Service Unavailable"))


def closed_url() -> str:
    """Return a URL of this machine that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def silent(*_: Any) -> None:
    """Receive a request and do not answer before the caller's timeout."""
    time.sleep(3)


def first_admin(front: Front) -> Holder:
    """Create the operator's account; return its admin."""
    made = front.function("bootstrap").handler(invocation.event("bootstrap"), invocation.Context())
    key = made["api_key"]["key"]
    me = front("GET", "/v1/whoami", key=key).json()["data"]
    return Holder(made["account"]["id"], me["identity"]["id"], me["key"]["id"], key)


def register(front: Front, holder: Holder, name: str, url: str, **fields: Any) -> Answer:
    """Register a service; `headers` are headers of the request, not fields."""
    headers = fields.pop("headers", None)
    body = {"name": name, "healthUrl": url, **fields}
    return front("POST", "/api/services", key=holder.key, body=body, headers=headers)


def listed(front: Front, holder: Holder) -> dict[str, dict[str, Any]]:
    """List an account's services and check the format; return the views by name."""
    answer = front("GET", "/api/services/list", key=holder.key)
    assert answer.status == 200, answer.text
    views = answer.json()
    assert [view["name"] for view in views] == sorted(view["name"] for view in views)
    assert all(set(view) == VIEW for view in views)
    return {view["name"]: view for view in views}


def checked(front: Front, holder: Holder, name: str) -> dict[str, Any]:
    """Check one service now; return its view."""
    answer = front("GET", f"/api/services/{name}/health", key=holder.key)
    assert answer.status == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view
