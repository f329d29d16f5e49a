"""Webhooks and restart hooks reach no further than the key that leaves them behind."""

from __future__ import annotations

from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")

URL = "http://127.0.0.1:9000/in"
PATH = "/admin/webhooks"
SCOPES = ["admin:manage", "agents:read"]
RED = {"ring_scopes": ["red"], "signal_types": ["pulse", "task"]}


@pytest.fixture
def red(people: People, admin: Holder) -> Holder:
    return people.key(admin, scopes=SCOPES, permissions=RED)


def create(front: Front, holder: Holder, **fields: Any) -> tuple[int, Any]:
    return outcome(front("POST", PATH, key=holder.key, body={"url": URL, **fields}))


def change(front: Front, holder: Holder, webhook: str, **fields: Any) -> tuple[int, Any]:
    return outcome(front("PATCH", f"{PATH}/{webhook}", key=holder.key, body=fields))


def outcome(answer: Any) -> tuple[int, Any]:
    """Return the status, and the excess of a refusal or else the data."""
    if answer.status == 403:
        assert answer.json()["error"]["code"] == "GRANTS_EXCEEDED"
        return 403, answer.json()["error"]["details"]
    return answer.status, answer.json().get("data")


def created(front: Front, holder: Holder, **fields: Any) -> str:
    status, webhook = create(front, holder, **fields)
    assert status == 201, webhook
    return str(webhook["id"])


def test_a_webhook_cannot_receive_or_last_more_than_the_key_that_creates_it(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    narrow = people.key(
        admin,
        scopes=["admin:manage"],
        permissions={"ring_scopes": ["red"], "signal_types": ["pulse"]},
        expires_at=held.text(seconds=12),
    )
    assert front("GET", "/signals/list", key=narrow.key).status == 403
    assert create(front, narrow) == (
        403,
        {
            "scopes": ["agents:read"],
            "filters.types": ["*"],
            "filters.rings": ["*"],
            "expires_at": None,
        },
    )
    assert front("GET", PATH, key=admin.key).json()["data"] == []


@pytest.mark.parametrize(
    ("filters", "excess"),
    [
        ({"rings": ["red"], "types": ["pulse", "task"]}, None),
        ({"rings": ["red"], "types": ["task"], "min_urgency": 1}, None),
        ({"rings": ["red", "blue"], "types": ["task"]}, {"filters.rings": ["blue"]}),
        ({"types": ["task"]}, {"filters.rings": ["*"]}),
        ({"rings": ["red"]}, {"filters.types": ["*"]}),
        ({"rings": ["red"], "types": ["alert"]}, {"filters.types": ["alert"]}),
        (None, {"filters.types": ["*"], "filters.rings": ["*"]}),
    ],
)
def test_filters_must_be_within_the_lists_of_the_key(
    front: Front, admin: Holder, red: Holder, filters: Any, excess: Any
) -> None:
    status, details = create(front, red, filters=filters)
    assert (status, details if excess else None) == (403 if excess else 201, excess)
    webhook = created(front, admin, filters={"rings": ["red"], "types": ["task"]})
    status, details = change(front, red, webhook, filters=filters)
    assert (status, details if excess else None) == (403 if excess else 200, excess)


@pytest.mark.parametrize("fields", [{"rate_limit": 1}, {"scopes": SCOPES}, {}], ids=str)
def test_a_rate_limit_does_not_bound_what_only_receives(
    front: Front, people: People, admin: Holder, fields: dict[str, Any]
) -> None:
    assert create(front, people.key(admin, **fields))[0] == 201


LESS = {
    "scopes": ({"scopes": ["admin:manage"]}, {"scopes": ["agents:read"]}),
    "rings": ({"permissions": {"ring_scopes": ["red"]}}, {"filters.rings": ["*"]}),
    "types": ({"permissions": {"signal_types": ["task"]}}, {"filters.types": ["*"]}),
    "expiry": ({"expires_at": "2100-01-01T00:00:00Z"}, {"expires_at": None}),
}


@pytest.mark.parametrize(("less", "excess"), LESS.values(), ids=LESS)
def test_a_key_with_less_cannot_use_a_webhook_that_others_left(
    front: Front, people: People, admin: Holder, less: dict[str, Any], excess: dict[str, Any]
) -> None:
    narrow, webhook = people.key(admin, **less), created(front, admin)
    for fields in (
        {"url": URL + "/other"},
        {"headers": {"X-Token": "a"}},
        {"retry_schedule": [1]},
        {"description": "mine"},
        {"active": False, "url": URL + "/other"},
        {"filters": {"rings": ["red"], "types": ["task"]}, "url": URL + "/other"},
        {"filters": {"rings": ["red"], "types": ["task"]}, "headers": {"X-Token": "a"}},
    ):
        assert change(front, narrow, webhook, **fields) == (403, excess)
    sent = front("POST", f"{PATH}/{webhook}/test", key=admin.key, body={})
    delivery = sent.json()["data"]["delivery_id"]
    for key, expected in ((narrow.key, 403), (admin.key, None)):
        for path, body, allowed in (
            (f"{PATH}/{webhook}/rotate-secret", {}, 200),
            (f"{PATH}/{webhook}/test", {}, 202),
            (f"{PATH}/{webhook}/recover", {"since": "2000-01-01T00:00:00Z"}, 202),
            (f"{PATH}/deliveries/{delivery}/replay", {}, 409),
        ):
            answer = front("POST", path, key=key, body=body)
            assert answer.status == (expected or allowed), path
            if expected:
                assert outcome(answer) == (403, excess)


@pytest.mark.parametrize(("less", "excess"), LESS.values(), ids=LESS)
def test_a_key_with_less_may_narrow_pause_and_delete_a_webhook(
    front: Front, people: People, admin: Holder, less: dict[str, Any], excess: dict[str, Any]
) -> None:
    narrow, webhook = people.key(admin, **less), created(front, admin)
    narrower: dict[str, Any] = {"rings": ["red", "blue"], "types": ["task", "pulse"]}
    for urgency, status in ((0.5, 200), (0.9, 200), (0.8, 403)):
        filters = narrower | {"min_urgency": urgency}
        assert change(front, narrow, webhook, filters=filters)[0] == status
    assert change(front, narrow, webhook, active=False)[0] == 200
    assert change(front, narrow, webhook, active=True) == (403, excess)
    path = f"{PATH}/{webhook}"
    assert outcome(front("DELETE", path, key=narrow.key))[0] == 200


def test_a_webhook_reaches_as_far_as_its_filters_ever_did(
    front: Front, admin: Holder, red: Holder
) -> None:
    """Deliveries of that time may still wait, and would go to the new address."""
    webhook = created(front, admin, filters={"rings": ["red", "blue"], "types": ["task"]})
    within = {"rings": ["red"], "types": ["task"]}
    assert change(front, admin, webhook, filters=within)[0] == 200
    assert change(front, red, webhook, url=URL + "/mine") == (403, {"filters.rings": ["blue"]})
    fresh = created(front, admin, filters=within)
    assert change(front, red, fresh, url=URL + "/mine")[0] == 200
    assert change(front, admin, fresh, filters=None)[0] == 200
    assert change(front, admin, fresh, filters=within)[0] == 200
    assert change(front, red, fresh, url=URL) == (
        403,
        {"filters.rings": ["*"], "filters.types": ["*"]},
    )


def test_a_repeated_test_is_checked_before_its_stored_answer_is_returned(
    front: Front, people: People, admin: Holder
) -> None:
    webhook, narrow = created(front, admin), people.key(admin, scopes=["admin:manage"])
    once = {"Idempotency-Key": "once"}
    path = f"{PATH}/{webhook}/test"
    assert front("POST", path, key=admin.key, body={}, headers=once).status == 202
    assert outcome(front("POST", path, key=narrow.key, body={}, headers=once))[0] == 403


# ---- Restart hooks -------------------------------------------------------------------------------


def test_a_key_that_expires_cannot_leave_a_restart_hook(
    front: Front, people: People, admin: Holder
) -> None:
    expiring = people.key(admin, expires_at="2100-01-01T00:00:00Z", rate_limit=1)
    body = {"name": "billing", "healthUrl": URL, "restartUrl": URL}
    refused = front("POST", "/api/services", key=expiring.key, body=body)
    assert refused.status == 403
    assert error_text(refused) == "Beyond this key's own grants: expires_at: null"
    lasting = people.key(admin, scopes=["services:write"], rate_limit=1)
    assert front("POST", "/api/services", key=lasting.key, body=body).status == 201


def test_a_key_that_expires_may_register_a_service_without_a_hook(
    front: Front, people: People, admin: Holder
) -> None:
    expiring = people.key(admin, expires_at="2100-01-01T00:00:00Z")
    body = {"name": "billing", "healthUrl": URL}
    assert front("POST", "/api/services", key=expiring.key, body=body).status == 201
