"""Keys on the admin surface: /admin/api-keys, `data` and `meta`, errors with codes."""

from __future__ import annotations

import re
import uuid

import pytest

from gatehouse.core.grants import Grants, Permissions
from gatehouse.identities.model import Membership
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock

KEY = re.compile(r"chorus_[0-9a-f]{72}")
VIEW = {
    *("id", "owner", "name", "permissions", "ring_scopes", "scopes", "created_at", "expires_at"),
    *("last_used_at", "rate_limit", "revoked", "revoked_at", "key_prefix", "created_by", "parent"),
}


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_key_is_created_for_an_identity(
    front: Front, people: People, admin: Holder, shape: str
) -> None:
    owner = people.member(admin)
    fields = {
        "owner": f"identity:{owner.id}",
        "name": "worker",
        "permissions": {"signal_types": ["task"], "rings": ["ring-a"]},
        "expires_at": "2999-01-01T00:00:00Z",
        "rate_limit": 60,
    }
    front.shape = shape
    made = front("POST", "/admin/api-keys", key=admin.key, body=fields)
    front.shape = "aws"

    assert made.status == 201
    answer = made.json()
    assert answer["meta"] == {"request_id": made.request_id, **answer["meta"]}
    view = answer["data"]
    text = view.pop("api_key")
    assert KEY.fullmatch(text)
    assert set(view) == VIEW
    assert view == {
        "id": view["id"],
        "owner": f"identity:{owner.id}",
        "name": "worker",
        "key_prefix": text[:11],
        "permissions": {
            "signal_types": ["task"],
            "task_types": [],
            "ring_scopes": ["ring-a"],
            "memory_scopes": [],
        },
        "ring_scopes": ["ring-a"],
        "scopes": ["*"],
        "created_by": f"identity:{admin.identity_id}",
        "parent": f"api_key:{admin.key_id}",
        "created_at": view["created_at"],
        "expires_at": "2999-01-01T00:00:00.000Z",
        "last_used_at": None,
        "rate_limit": 60,
        "revoked": False,
        "revoked_at": None,
    }
    assert re.fullmatch(r"api_key:[0-9a-f-]{36}", view["id"])
    listed = front("GET", "/admin/api-keys", key=admin.key)
    assert view in listed.json()["data"]
    assert text not in listed.text
    assert front("GET", "/v1/whoami", key=text).json()["data"]["identity"]["id"] == owner.id


def test_owner_is_an_id_with_or_without_its_kind(
    front: Front, people: People, admin: Holder
) -> None:
    owner = people.member(admin)
    for named in (owner.id, f"identity:{owner.id}"):
        made = front("POST", "/admin/api-keys", key=admin.key, body={"owner": named})
        assert made.status == 201
        assert made.json()["data"]["owner"] == f"identity:{owner.id}"
        assert made.json()["data"]["name"] == "default"


def test_revoked_keys_are_listed_as_revoked(front: Front, people: People) -> None:
    admin = people.tenant()
    key = people.employee(admin)
    revoked = front("POST", f"/admin/api-keys/{key.key_id}/revoke", key=admin.key)
    assert revoked.status == 200
    assert revoked.json() == {
        "data": {"id": f"api_key:{key.key_id}", "revoked": True},
        "revoked": True,
        "meta": {"request_id": revoked.request_id},
    }
    assert front("GET", "/v1/whoami", key=key.key).status == 401
    listed = front("GET", "/admin/api-keys", key=admin.key)
    views = {view["id"]: view for view in listed.json()["data"]}
    assert views[f"api_key:{key.key_id}"]["revoked"] is True
    assert views[f"api_key:{key.key_id}"]["revoked_at"] is not None
    assert views[f"api_key:{admin.key_id}"]["revoked"] is False
    assert "hash" not in listed.text
    assert "digest" not in listed.text


def test_keys_page_newest_first_with_the_cursor_in_meta_and_header(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    made = [people.employee(admin).key_id for _ in range(4)]
    expected = [f"api_key:{bare}" for bare in [*reversed(made), admin.key_id]]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        query = {"limit": "2"} | ({"after": cursor} if cursor else {})
        page = front("GET", "/admin/api-keys", key=admin.key, query=query)
        seen += [view["id"] for view in page.json()["data"]]
        cursor = page.json()["meta"].get("cursor")
        assert page.headers.get("x-next-cursor") == cursor
    assert seen == expected
    assert cursor is None


@pytest.mark.parametrize("prefix", ["", "api_key:"])
def test_rotation_keeps_owner_and_grants_and_ends_the_old_key(
    front: Front, people: People, admin: Holder, prefix: str
) -> None:
    old = people.employee(admin, scopes=["agents:read"], permissions={"ring_scopes": ["a"]})
    path = f"/admin/api-keys/{prefix}{old.key_id}/rotate"
    rotated = front("POST", path, key=admin.key, body={})
    assert rotated.status == 200
    data = rotated.json()["data"]
    assert set(data) == {"id", "api_key"}
    assert KEY.fullmatch(data["api_key"])
    assert front("GET", "/v1/whoami", key=old.key).status == 401
    me = front("GET", "/v1/whoami", key=data["api_key"]).json()["data"]
    assert me["identity"]["id"] == old.identity_id
    assert me["grants"]["scopes"] == ["agents:read"]
    assert me["grants"]["permissions"]["ring_scopes"] == ["a"]


def test_a_rotated_key_works_for_its_grace(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    old = people.employee(admin)
    path = f"/admin/api-keys/{old.key_id}/rotate"
    assert front("POST", path, key=admin.key, body={"grace_seconds": 5}).status == 200
    assert front("GET", "/v1/whoami", key=old.key).status == 200
    held.advance(seconds=5)
    assert front("GET", "/v1/whoami", key=old.key).status == 401
    for grace in (-1, 2_592_001, "5"):
        body = {"grace_seconds": grace}
        path = f"/admin/api-keys/{admin.key_id}/rotate"
        answer = front("POST", path, key=admin.key, body=body)
        assert answer.status == 400
        assert answer.json()["error"]["details"] == {"field": "grace_seconds"} or grace == "5"


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_an_unknown_key_is_a_404_and_an_invalid_id_a_400(
    front: Front, admin: Holder, verb: str
) -> None:
    unknown = front("POST", f"/admin/api-keys/{uuid.uuid4()}/{verb}", key=admin.key, body={})
    assert unknown.status == 404
    assert unknown.json()["error"]["code"] == "API_KEY_NOT_FOUND"
    for bad in ("nope", f"identity:{uuid.uuid4()}", "api_key:", "api_key:api_key:x"):
        answer = front("POST", f"/admin/api-keys/{bad}/{verb}", key=admin.key, body={})
        assert answer.status == 400
        assert answer.json()["error"]["code"] == "VALIDATION_INVALID_ID"


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_a_revoked_key_is_a_404(front: Front, people: People, admin: Holder, verb: str) -> None:
    key = people.employee(admin)
    front("POST", f"/admin/api-keys/{key.key_id}/revoke", key=admin.key)
    answer = front("POST", f"/admin/api-keys/{key.key_id}/{verb}", key=admin.key, body={})
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "API_KEY_NOT_FOUND"


def test_an_expired_key_cannot_be_rotated(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.employee(admin, expires_at=held.text(seconds=1))
    held.advance(seconds=1)
    answer = front("POST", f"/admin/api-keys/{key.key_id}/rotate", key=admin.key, body={})
    assert answer.status == 409
    assert answer.json()["error"]["code"] == "API_KEY_EXPIRED"


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 400, "VALIDATION_FIELD_REQUIRED", "owner"),
        ({"owner": 7}, 400, "VALIDATION_INVALID_TYPE", "owner"),
        ({"owner": "me"}, 400, "VALIDATION_INVALID_VALUE", "owner"),
        ({"owner": "api_key:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"}, 400, None, "owner"),
        ({"owner": "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"}, 404, "IDENTITY_NOT_FOUND", None),
        ({"name": 7}, 400, "VALIDATION_INVALID_TYPE", "name"),
        ({"name": ""}, 400, "VALIDATION_FIELD_REQUIRED", "name"),
        ({"name": "x" * 10_000}, 400, "VALIDATION_INVALID_VALUE", "name"),
        ({"scopes": ["x"]}, 400, "VALIDATION_INVALID_VALUE", "scopes"),
        ({"permissions": []}, 400, "VALIDATION_INVALID_TYPE", "permissions"),
        ({"permissions": {"rings": "a"}}, 400, "VALIDATION_INVALID_TYPE", "permissions.rings"),
        (
            {"permissions": {"rings": ["a"], "ring_scopes": ["b"]}},
            400,
            "VALIDATION_INVALID_VALUE",
            "permissions.rings",
        ),
        (
            {"permissions": {"signal_types": ["x"]}},
            400,
            "VALIDATION_INVALID_VALUE",
            "permissions.signal_types",
        ),
        ({"expires_at": "x"}, 400, "VALIDATION_INVALID_VALUE", "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400, "VALIDATION_INVALID_VALUE", "expires_at"),
        ({"rate_limit": -1}, 400, "VALIDATION_INVALID_VALUE", "rate_limit"),
        ({"rate_limit": 10**12}, 400, "VALIDATION_INVALID_VALUE", "rate_limit"),
        ({"rate_limit": "x"}, 400, "VALIDATION_INVALID_TYPE", "rate_limit"),
    ],
)
def test_an_invalid_field_is_named_with_its_code(
    front: Front, admin: Holder, body: dict, status: int, code: str | None, field: str | None
) -> None:
    fields = {"owner": admin.identity_id, **body} if body else body
    answer = front("POST", "/admin/api-keys", key=admin.key, body=fields)
    assert answer.status == status, answer.text
    error = answer.json()["error"]
    assert code in {None, error["code"]}
    assert error["details"].get("field") == field


def test_a_key_beyond_its_owners_ceiling_is_a_403(
    front: Front, people: People, admin: Holder
) -> None:
    ceiling = Grants(("services:read",), Permissions(signal_types=("task",)))
    owner = people.member(admin, ceiling=ceiling)
    body = {"owner": owner.id, "scopes": ["services:*"]}
    answer = front("POST", "/admin/api-keys", key=admin.key, body=body)
    assert answer.status == 403
    error = answer.json()["error"]
    assert error["code"] == "GRANTS_EXCEEDED"
    assert error["details"] == {"scopes": ["services:*"], "signal_types": ["*"]}
    fits = {"scopes": ["services:read"], "permissions": {"signal_types": ["task"]}}
    assert people.key_for(admin, owner, **fits).identity_id == owner.id


@pytest.mark.parametrize("membership", [m for m in Membership if m is not Membership.ACTIVE])
def test_an_owner_who_is_not_active_gets_no_key(
    front: Front, people: People, admin: Holder, membership: Membership
) -> None:
    owner = people.member(admin, membership=membership)
    answer = front("POST", "/admin/api-keys", key=admin.key, body={"owner": owner.id})
    assert answer.status == 409
    assert answer.json()["error"]["code"] == "IDENTITY_NOT_ACTIVE"


ROUTES = [
    ("GET", "/admin/api-keys"),
    ("POST", "/admin/api-keys"),
    ("POST", "/admin/api-keys/{id}/rotate"),
    ("POST", "/admin/api-keys/{id}/revoke"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/policy"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_employee_may_not_manage(
    front: Front, people: People, admin: Holder, method: str, path: str
) -> None:
    employee = people.employee(admin)
    body = {"owner": employee.identity_id} if method == "POST" else None
    there = path.replace("{id}", admin.key_id)
    answer = front(method, there, key=employee.key, body=body)
    assert answer.status == 403
    error = answer.json()["error"]
    assert error["code"] == "POLICY_DENIED"
    assert error["details"]["rule"] == "admin_action_restriction"
    assert error["details"]["reasons"] == ["the identity is not an admin"]
    assert error["details"]["would_allow"] == {"is_admin": True}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_admins_key_without_the_scope_may_not_manage(
    front: Front, people: People, admin: Holder, method: str, path: str
) -> None:
    key = people.key(admin, scopes=["services:*", "*:read"])
    body = {"owner": admin.identity_id} if method == "POST" else None
    answer = front(method, path.replace("{id}", admin.key_id), key=key.key, body=body)
    assert answer.status == 403
    details = answer.json()["error"]["details"]
    assert details["rule"] == "key_scope"
    assert details["would_allow"] == {"scopes": ["admin:manage"]}


def test_an_employee_sees_changes_and_rotates_only_its_own_keys(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    employee = people.employee(admin)
    more = people.key(employee, name="mine")
    mine = {employee.key_id, more.key_id}
    for path in ("/api/auth/keys", "/v1/api-keys"):
        listed = front("GET", path, key=employee.key).json()
        views = listed if isinstance(listed, list) else listed["data"]
        assert {view["id"] for view in views} == mine
    there = f"/v1/api-keys/{admin.key_id}"
    for method, path, body in (
        ("PATCH", there, {"enabled": False}),
        ("POST", f"{there}/rotate", {}),
        ("DELETE", there, None),
        ("DELETE", f"/api/auth/keys/{admin.key_id}", None),
    ):
        assert front(method, path, key=employee.key, body=body).status == 404
    verified = front("POST", "/v1/keys/verify", key=employee.key, body={"key": admin.key})
    assert verified.json()["data"]["code"] == "NOT_FOUND"
    assert front("GET", "/v1/whoami", key=admin.key).status == 200
    assert front("PATCH", f"/v1/api-keys/{more.key_id}", key=employee.key, body={}).status == 200
    assert front("DELETE", f"/v1/api-keys/{more.key_id}", key=employee.key).status == 204
    assert front("DELETE", f"/v1/api-keys/{employee.key_id}", key=admin.key).status == 204


def test_an_employees_list_has_pages_too(front: Front, people: People) -> None:
    admin = people.tenant()
    employee = people.employee(admin)
    people.key(admin)
    made = [employee.key_id, *(people.key(employee).key_id for _ in range(3))]
    for path, expected in (("/v1/api-keys", made), ("/api/auth/keys", made[::-1])):
        seen: list[str] = []
        query = {"limit": "3"}
        for _ in range(2):
            page = front("GET", path, key=employee.key, query=query)
            listed = page.json()
            views = listed if isinstance(listed, list) else listed["data"]
            seen += [view["id"] for view in views]
            query["after"] = page.headers.get("x-next-cursor", "")
        assert seen == expected
