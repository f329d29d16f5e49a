"""Restarts of services by their route, and what the audit trail has of them."""

from __future__ import annotations

from typing import Any

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.aws.api_gateway import Front
from support.aws.invocation import Answer
from support.checks.inspection import State


def restart(front: Front, holder: Holder, name: str) -> Answer:
    """Restart a service."""
    return front("POST", f"/api/services/{name}/restart", key=holder.key)


def trail(stack: Tables, holder: Holder) -> list[tuple[str, Any, Any]]:
    """Return action, before and after of the last two events about restarts."""
    return [
        (event["action"], event["before"], event["after"])
        for event in State(stack).events(holder.account_id)
        if event["action"].startswith("service.restart")
    ][-2:]
