"""The routes of webhooks: create, list, change, rotate, delete."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.actors.webhook_routes import PATH, URL, VIEW, created, patch, post_webhook
from support.aws.api_gateway import Front
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_webhook_is_created_shown_listed_and_deleted(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    webhook = created(
        front,
        admin,
        filters={"rings": ["inner"], "types": ["task", "alert"], "min_urgency": 0.25},
        description="for the team",
        retry_schedule=[1, 60],
        headers={"X-Token": "a b", "authorization": "Basic c"},
    )
    front.shape = "aws"
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:], validate=True)) == 32
    assert webhook == {
        "id": webhook["id"],
        "url": URL,
        "filters": {"rings": ["inner"], "types": ["task", "alert"], "min_urgency": 0.25},
        "active": True,
        "failing": False,
        "failure_count": 0,
        "last_success_at": None,
        "last_failure_at": None,
        "disabled_reason": None,
        "description": "for the team",
        "retry_schedule": [1, 60],
        "header_names": ["authorization", "X-Token"],
        "created_by": f"identity:{admin.identity_id}",
        "created_by_key": f"api_key:{admin.key_id}",
        "created_at": held.text(),
    }
    assert set(webhook) == VIEW
    second = created(front, admin, active=False)
    second.pop("secret")
    assert (second["active"], second["retry_schedule"]) == (False, [5, 30, 300])
    assert second["filters"] == {"rings": [], "types": [], "min_urgency": 0}
    listed = front("GET", PATH, key=admin.key)
    assert sorted(listed.json()["data"], key=lambda one: one["id"]) == sorted(
        [webhook, second], key=lambda one: one["id"]
    )
    for shown in (webhook["id"], webhook["id"].removeprefix("webhook:")):
        assert front("GET", f"{PATH}/{shown}", key=admin.key).json()["data"] == webhook
    removed = front("DELETE", f"{PATH}/{webhook['id']}", key=admin.key)
    assert removed.json()["data"] == {"id": webhook["id"], "deleted": True}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
    ):
        gone = front(method, f"{PATH}/{webhook['id']}{path}", key=admin.key, body=body)
        assert (gone.status, gone.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")
        odd = front(method, f"{PATH}/x{path}", key=admin.key, body=body)
        assert (odd.status, odd.json()["error"]["code"]) == (400, "VALIDATION_INVALID_ID")


def test_absent_fields_of_a_patch_stay_and_null_sets_the_default(
    front: Front, admin: Holder
) -> None:
    webhook = created(
        front,
        admin,
        filters={"rings": ["inner"], "types": ["task"], "min_urgency": 1},
        description="d",
        retry_schedule=[9],
        headers={"X-A": "1", "X-B": "2"},
    )
    webhook.pop("secret")
    assert patch(front, admin, webhook).json()["data"] == webhook
    assert patch(front, admin, webhook, active=False).json()["data"] == {
        **webhook, "active": False,
    }  # fmt: skip
    for change, shown in (
        ({"filters": {"types": ["alert"]}}, {"rings": [], "types": ["alert"], "min_urgency": 0}),
        ({"filters": None}, {"rings": [], "types": [], "min_urgency": 0}),
    ):
        assert patch(front, admin, webhook, **change).json()["data"]["filters"] == shown
    changed = patch(
        front,
        admin,
        webhook,
        url="http://LOCALHOST:9001/other?token=x",
        description=None,
        retry_schedule=None,
        headers={"X-C": "3"},
        active=True,
    ).json()["data"]
    assert changed["url"] == "http://localhost:9001/other?token=x"
    assert (changed["description"], changed["retry_schedule"]) == ("", [5, 30, 300])
    assert (changed["header_names"], changed["active"]) == (["X-C"], True)
    assert patch(front, admin, webhook, headers={}).json()["data"]["header_names"] == []
    assert front("GET", f"{PATH}/{webhook['id']}", key=admin.key).json()["data"] == {
        **changed, "header_names": [],
    }  # fmt: skip


def test_a_patch_without_a_difference_writes_no_audit_event(
    front: Front, admin: Holder, stack: Tables
) -> None:
    webhook = created(front, admin, headers={"X-A": "1"}, filters={"min_urgency": 0.5})
    before = State(stack).main
    again = patch(
        front, admin, webhook, url=URL, headers={"X-A": "1"}, filters={"min_urgency": 0.50}
    )
    assert again.status == 200
    assert State(stack).main == before


def test_webhooks_need_admin_manage_and_belong_to_their_account(
    front: Front, people: People, admin: Holder
) -> None:
    webhook, stranger = created(front, admin), people.tenant()
    employee = people.employee(admin)
    path = f"{PATH}/{webhook['id']}"
    never = f"{PATH}/webhook:{admin.account_id}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
    ]
    for method, end, body in calls:
        assert front(method, path + end, key=employee.key, body=body).status == 403
        theirs = front(method, path + end, key=stranger.key, body=body)
        unknown = front(method, never + end, key=stranger.key, body=body)
        assert (theirs.status, unknown.status) == (404, 404)
        assert theirs.text.replace(theirs.request_id, "") == unknown.text.replace(
            unknown.request_id, ""
        )
    assert post_webhook(front, employee).status == 403
    assert front("GET", PATH, key=employee.key).status == 403
    assert front("GET", PATH, key=stranger.key).json()["data"] == []
    assert front("GET", path, key=admin.key).json()["data"]["active"]
