"""Rotation of keys on the account surface: the grace, and how it ends."""

from __future__ import annotations

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock


def test_an_expired_key_cannot_be_rotated_but_can_be_extended(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin, expires_at=held.text(seconds=10))
    path = f"/v1/api-keys/{key.key_id}"
    held.advance(seconds=9.999999)
    assert front("GET", "/v1/whoami", key=key.key).status == 200
    held.advance(micros=1)
    assert front("GET", "/v1/whoami", key=key.key).status == 401
    refused = front("POST", f"{path}/rotate", key=admin.key, body={})
    assert refused.status == 409
    assert refused.json().items() >= {"error": "API key has expired"}.items()
    extended = front("PATCH", path, key=admin.key, body={"expires_at": held.text(seconds=60)})
    assert extended.status == 200
    assert front("GET", "/v1/whoami", key=key.key).status == 200


def test_rotation_ends_the_old_key_at_once(front: Front, people: People, admin: Holder) -> None:
    fields = {"scopes": ["services:read"], "rate_limit": 30, "metadata": {"team": "a"}}
    old = people.key(admin, name="rotating", expires_at="2999-01-01T00:00:00Z", **fields)
    rotated = front("POST", f"/v1/api-keys/{old.key_id}/rotate", key=admin.key, body={})
    assert rotated.status == 201
    new = rotated.json()["data"]
    assert {name: new[name] for name in fields} == fields
    assert (new["name"], new["revoked_at"]) == ("rotating", None)
    assert new["id"] != old.key_id
    assert front("GET", "/v1/whoami", key=old.key).status == 401
    me = front("GET", "/v1/whoami", key=new["key"]).json()["data"]["key"]
    assert (me["scopes"], me["rate_limit"], me["metadata"], me["expires_at"]) == (
        ["services:read"],
        30,
        {"team": "a"},
        "2999-01-01T00:00:00.000Z",
    )


def test_rotation_needs_no_body(front: Front, people: People, admin: Holder) -> None:
    old = people.key(admin)
    assert front("POST", f"/v1/api-keys/{old.key_id}/rotate", key=admin.key).status == 201


def test_the_old_key_works_exactly_for_the_grace(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    old = people.key(admin)
    path = f"/v1/api-keys/{old.key_id}"
    new = front("POST", f"{path}/rotate", key=admin.key, body={"grace_seconds": 60})
    new_key = new.json()["data"]["key"]
    listed = front("GET", "/v1/api-keys", key=admin.key).json()["data"]
    shown = {view["id"]: view["revoked_at"] for view in listed}
    assert shown[old.key_id] is None
    held.advance(seconds=59.999999)
    for key in (old.key, new_key):
        assert front("GET", "/v1/whoami", key=key).status == 200
    held.advance(micros=1)
    assert front("GET", "/v1/whoami", key=old.key).status == 401
    assert front("GET", "/v1/whoami", key=new_key).status == 200
    assert front("PATCH", path, key=admin.key, body={"enabled": True}).status == 404


def test_a_grace_never_outlasts_the_old_expiry_or_an_earlier_grace(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    expiring = people.key(admin, expires_at=held.text(seconds=30))
    rotated = people.key(admin)
    for key, grace in ((expiring, 3600), (rotated, 30), (rotated, 3600)):
        path = f"/v1/api-keys/{key.key_id}/rotate"
        assert front("POST", path, key=admin.key, body={"grace_seconds": grace}).status == 201
    held.advance(seconds=29.9)
    for key in (expiring, rotated):
        assert front("GET", "/v1/whoami", key=key.key).status == 200
    held.advance(seconds=0.1)
    for key in (expiring, rotated):
        assert front("GET", "/v1/whoami", key=key.key).status == 401


def test_a_key_in_its_grace_can_be_revoked_at_once(
    front: Front, people: People, admin: Holder
) -> None:
    old = people.key(admin)
    path = f"/v1/api-keys/{old.key_id}"
    front("POST", f"{path}/rotate", key=admin.key, body={"grace_seconds": 600})
    assert front("DELETE", path, key=admin.key).status == 204
    assert front("GET", "/v1/whoami", key=old.key).status == 401


@pytest.mark.parametrize(
    ("grace", "error"),
    [
        (-1, "grace_seconds must be from 0 to 2592000"),
        (30 * 86_400 + 1, "grace_seconds must be from 0 to 2592000"),
        (1.5, "grace_seconds must be a whole number"),
        ("60", "grace_seconds must be a whole number"),
        (True, "grace_seconds must be a whole number"),
    ],
)
def test_an_invalid_grace_is_a_400_and_changes_nothing(
    front: Front, people: People, admin: Holder, grace: object, error: str
) -> None:
    old = people.key(admin)
    path = f"/v1/api-keys/{old.key_id}/rotate"
    answer = front("POST", path, key=admin.key, body={"grace_seconds": grace})
    assert answer.status == 400
    assert answer.json().items() >= {"error": error}.items()
    assert front("GET", "/v1/whoami", key=old.key).status == 200


def test_a_grace_of_30_days_is_allowed(front: Front, people: People, admin: Holder) -> None:
    path = f"/v1/api-keys/{people.key(admin).key_id}/rotate"
    body = {"grace_seconds": 30 * 86_400}
    assert front("POST", path, key=admin.key, body=body).status == 201
