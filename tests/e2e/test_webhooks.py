"""Webhooks on the deployed stack: created, changed, rotated and deleted."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

PATH = "/admin/webhooks"
URL = "http://127.0.0.1:9000/in"
VIEW = {
    *("id", "url", "filters", "active", "failing", "failure_count", "last_success_at"),
    *("last_failure_at", "disabled_reason", "description", "retry_schedule", "header_names"),
    "created_at",
}


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def make(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    made = tenant.call("POST", PATH, json={"url": URL, **fields})
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def test_a_webhook_is_created_shown_changed_and_deleted(tenant: Tenant) -> None:
    webhook = make(
        tenant,
        filters={"rings": ["inner"], "types": ["task"], "min_urgency": 0.5},
        description="for the team",
        retry_schedule=[1, 2],
        headers={"X-Token": "value-of-a-header"},
    )
    secret = webhook.pop("secret")
    path = f"{PATH}/{webhook['id']}"

    assert set(webhook) >= VIEW
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert webhook["filters"] == {"rings": ["inner"], "types": ["task"], "min_urgency": 0.5}
    assert (webhook["retry_schedule"], webhook["header_names"]) == ([1, 2], ["X-Token"])
    assert tenant.call("GET", path).json()["data"] == webhook
    assert webhook in tenant.call("GET", PATH).json()["data"]
    plain = {"url": "http://localhost:9000/other", "active": False, "description": ""}
    changes = {**plain, "filters": {}, "retry_schedule": None, "headers": {}}
    changed = tenant.call("PATCH", path, json=changes)
    assert changed.status_code == 200, changed.text
    assert changed.json()["data"] == {
        **webhook,
        **plain,
        "filters": {"rings": [], "types": [], "min_urgency": 0},
        "retry_schedule": [5, 30, 300],
        "header_names": [],
    }
    removed = tenant.call("DELETE", path)
    assert removed.status_code == 200, removed.text
    assert removed.json()["data"] == {"id": webhook["id"], "deleted": True}
    gone = tenant.call("GET", path)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")


def test_a_secret_is_shown_once_and_stored_encrypted(tenant: Tenant) -> None:
    webhook = make(tenant, headers={"X-Token": "value-of-a-header"})
    path = f"{PATH}/{webhook['id']}"
    rotated = tenant.call("POST", f"{path}/rotate-secret", json={"grace_seconds": 60})

    assert rotated.status_code == 200, rotated.text
    data = rotated.json()["data"]
    assert set(data) == {"id", "secret", "old_secret_ends_at"}
    assert data["secret"] != webhook["secret"]
    answers = tenant.call("GET", path).text + tenant.call("GET", PATH).text + str(tenant.events())
    items = tenant.stack.client("dynamodb").scan(
        TableName=tenant.stack.outputs["MainTableName"], ConsistentRead=True
    )
    assert webhook["id"].removeprefix("webhook:") in str(items)
    for hidden in (webhook["secret"], data["secret"], "value-of-a-header"):
        assert hidden not in answers + str(items)
        assert hidden.removeprefix("whsec_") not in answers + str(items)


def test_a_repeated_request_creates_no_second_webhook(tenant: Tenant) -> None:
    once = {"Idempotency-Key": uuid.uuid4().hex}
    first = tenant.call("POST", PATH, json={"url": URL}, headers=once)
    again = tenant.call("POST", PATH, json={"url": URL}, headers=once)

    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["error"]["details"] == {"id": first.json()["data"]["id"]}


def test_each_change_of_a_webhook_is_in_the_audit_trail(tenant: Tenant) -> None:
    webhook = make(tenant, url=f"{URL}?token=hidden")
    path = f"{PATH}/{webhook['id']}"
    tenant.call("PATCH", path, json={"active": False})
    tenant.call("PATCH", path, json={"active": False})
    tenant.call("POST", f"{path}/rotate-secret", json={})
    tenant.call("DELETE", path)

    events = [one for one in tenant.events() if one["target"] == webhook["id"]]
    assert [one["action"] for one in events] == [
        "webhook.create",
        "webhook.update",
        "webhook.rotate_secret",
        "webhook.delete",
    ]
    assert "hidden" not in str(events)


def test_webhooks_belong_to_one_account_and_need_a_manager(stack: Deployed, tenant: Tenant) -> None:
    webhook = make(tenant)
    stranger, employee = open_tenant(stack), add_member(tenant)
    path = f"{PATH}/{webhook['id']}"

    assert stranger.call("GET", PATH).json()["data"] == []
    calls: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("PATCH", path, {"active": False}),
        ("POST", f"{path}/rotate-secret", {}),
        ("DELETE", path, None),
    ]
    for method, where, body in calls:
        assert stranger.call(method, where, json=body).status_code == 404
        assert stack.call(method, where, key=employee, json=body).status_code == 403
    assert stack.call("POST", PATH, key=employee, json={"url": URL}).status_code == 403
    assert stack.call("GET", PATH, key=employee).status_code == 403
    assert stack.call("GET", PATH).status_code == 401
    assert tenant.call("GET", path).json()["data"]["active"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "http://169.254.169.254/latest/meta-data/"}, "url"),
        ({"filters": {"min_urgency": 2}}, "filters.min_urgency"),
        ({"headers": {"Host": "other.example"}}, "headers"),
    ],
    ids=["metadata address", "filter", "header"],
)
def test_a_bad_field_of_a_webhook_is_named(
    tenant: Tenant, fields: dict[str, Any], field: str
) -> None:
    refused = tenant.call("POST", PATH, json={"url": URL, **fields})

    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["details"]["field"] == field


def test_a_webhook_cannot_call_the_stack_itself(tenant: Tenant) -> None:
    refused = tenant.call("POST", PATH, json={"url": f"{tenant.stack.url}/emit"})

    assert (refused.status_code, refused.json()["error"]["details"]) == (400, {"field": "url"})


def test_a_bad_id_and_a_grace_over_seven_days_are_400(tenant: Tenant) -> None:
    assert tenant.call("GET", f"{PATH}/x").status_code == 400
    webhook = make(tenant)
    path = f"{PATH}/{webhook['id']}/rotate-secret"
    refused = tenant.call("POST", path, json={"grace_seconds": 604_801})

    assert (refused.status_code, refused.json()["error"]["details"]) == (
        400,
        {"field": "grace_seconds"},
    )
