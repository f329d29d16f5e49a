"""Accounts and keys on the account surface: /v1, snake_case, everything in `data`."""

from __future__ import annotations

import re
import uuid

import pytest

from gatehouse.core.grants import Grants, Permissions
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.worlds.held_clock import HeldClock

KEY = re.compile(r"hk_[0-9a-f]{72}")
NO_PERMISSIONS = {"signal_types": [], "task_types": [], "ring_scopes": [], "memory_scopes": []}


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_an_account_is_created_without_a_credential(front: Front, shape: str) -> None:
    front.shape = shape
    opened = front("POST", "/v1/accounts", body={"name": "Acme"})
    front.shape = "aws"

    assert opened.status == 201
    data = opened.json()["data"]
    account, key = data["account"], data["api_key"]
    assert set(account) == {"id", "name", "plan", "created_at"}
    assert account["name"] == "Acme"
    assert KEY.fullmatch(key["key"])
    assert key == {
        "id": key["id"],
        "account_id": account["id"],
        "name": "default",
        "key_prefix": key["key"][:7],
        "created_at": account["created_at"],
        "key": key["key"],
        "plain_key": key["key"],
    }
    me = front("GET", "/v1/whoami", key=key["key"]).json()["data"]
    assert me["account"] == account
    assert me["identity"] == {
        "id": me["identity"]["id"],
        "name": "Acme",
        "type": "human",
        "is_admin": True,
        "claw_type": "central",
        "status": "active",
    }
    assert me["operator"] is False
    assert me["grants"] == {"scopes": ["*"], "permissions": NO_PERMISSIONS}
    assert me["key"]["id"] == key["id"]
    assert "key" not in me["key"]


def test_creating_an_account_is_403_where_that_is_closed(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_ACCOUNT_CREATION", "closed")
    answer = front("POST", "/v1/accounts", body={"name": "Acme"})
    assert answer.status == 403
    assert answer.json().items() >= {"error": "Account creation is closed"}.items()


def test_a_key_is_created_and_its_text_shown_once(front: Front, admin: Holder) -> None:
    made = front("POST", "/v1/api-keys", key=admin.key, body={"name": "production"})
    assert made.status == 201
    data = made.json()["data"]
    text = data.pop("key")
    assert KEY.fullmatch(text)
    assert data == {
        "id": data["id"],
        "account_id": admin.account_id,
        "name": "production",
        "key_prefix": text[:7],
        "created_at": data["created_at"],
        "revoked_at": None,
        "enabled": True,
        "expires_at": None,
        "rate_limit": 6000,
        "metadata": {},
        "scopes": ["*"],
        "permissions": Permissions().to_dict(),
    }
    listed = front("GET", "/v1/api-keys", key=admin.key)
    assert listed.status == 200
    (view,) = [view for view in listed.json()["data"] if view["id"] == data["id"]]
    assert view.items() <= data.items()
    assert text not in listed.text
    me = front("GET", "/v1/whoami", key=text).json()["data"]
    assert me["grants"]["scopes"] == ["*"]


def test_keys_are_listed_oldest_first_without_the_revoked_ones(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    made = [people.key(admin, name=f"key {n}").key_id for n in range(4)]
    front("DELETE", f"/v1/api-keys/{made.pop(1)}", key=admin.key)
    expected = [admin.key_id, *made]
    whole = front("GET", "/v1/api-keys", key=admin.key).json()
    assert [view["id"] for view in whole["data"]] == expected
    assert "cursor" not in whole

    seen: list[str] = []
    cursor = None
    for _ in range(4):
        query = {"limit": "1"} | ({"after": cursor} if cursor else {})
        page = front("GET", "/v1/api-keys", key=admin.key, query=query)
        seen += [view["id"] for view in page.json()["data"]]
        cursor = page.json().get("cursor")
        assert page.headers.get("x-next-cursor") == cursor
    assert seen == expected
    assert cursor is None


def test_a_revoked_key_is_404_for_delete_patch_and_rotate(front: Front, people: People) -> None:
    admin = people.tenant()
    revoked = people.key(admin)
    path = f"/v1/api-keys/{revoked.key_id}"
    assert front("DELETE", path, key=admin.key).status == 204
    for method, there, body in (
        ("DELETE", path, None),
        ("PATCH", path, {"name": "x"}),
        ("POST", f"{path}/rotate", {}),
    ):
        answer = front(method, there, key=admin.key, body=body)
        assert answer.status == 404
        assert answer.json().items() >= {"error": "Not Found"}.items()


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "POST"])
@pytest.mark.parametrize("bad", ["1", "not-a-uuid", "api_key:x", "%2e%2e", "a b"])
def test_an_id_that_is_not_a_uuid_is_a_400(
    front: Front, admin: Holder, method: str, bad: str
) -> None:
    path = f"/v1/api-keys/{bad}" + ("/rotate" if method == "POST" else "")
    answer = front(method, path, key=admin.key, body=None if method == "DELETE" else {})
    assert answer.status == 400
    assert answer.json().items() >= {"error": "invalid id"}.items()


def test_a_caller_who_revokes_their_own_key_is_locked_out(front: Front, people: People) -> None:
    admin = people.tenant()
    assert front("DELETE", f"/v1/api-keys/{admin.key_id}", key=admin.key).status == 204
    assert front("GET", "/v1/whoami", key=admin.key).status == 401


def test_a_patch_changes_only_the_fields_that_were_sent(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.key(admin, name="before", metadata={"team": "a"}, rate_limit=100)
    path = f"/v1/api-keys/{key.key_id}"

    def patch(**body: object) -> dict:
        answer = front("PATCH", path, key=admin.key, body=body)
        assert answer.status == 200, answer.text
        return answer.json()["data"]

    unchanged = patch()
    assert set(unchanged) == {
        *("id", "account_id", "name", "key_prefix", "created_at", "revoked_at", "enabled"),
        *("expires_at", "rate_limit", "metadata", "scopes", "permissions"),
    }
    assert patch(name=" after ") == {**unchanged, "name": "after"}
    assert patch(name="before") == unchanged
    assert patch(enabled=False) == {**unchanged, "enabled": False}
    assert patch(enabled=True) == unchanged
    assert patch(expires_at="2999-01-01T00:00:00Z") == {
        **unchanged,
        "expires_at": "2999-01-01T00:00:00.000Z",
    }
    assert patch(expires_at=None) == unchanged
    assert patch(rate_limit=7)["rate_limit"] == 7
    metadata = {"nested": [1, 2.5, None, {"deep": True}], "ä": "☃"}
    assert patch(rate_limit=100, metadata=metadata) == {**unchanged, "metadata": metadata}


def test_a_disabled_key_is_refused_until_it_is_enabled(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.key(admin)
    path = f"/v1/api-keys/{key.key_id}"
    for enabled, status in ((False, 401), (True, 200)):
        front("PATCH", path, key=admin.key, body={"enabled": enabled})
        assert front("GET", "/v1/whoami", key=key.key).status == status


def test_a_new_rate_limit_applies_from_the_next_request(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin, rate_limit=2)
    statuses = [front("GET", "/v1/whoami", key=key.key).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    front("PATCH", f"/v1/api-keys/{key.key_id}", key=admin.key, body={"rate_limit": 60})
    answer = front("GET", "/v1/whoami", key=key.key)
    assert answer.headers["ratelimit-limit"] == "60"
    held.advance(seconds=60)
    statuses = [front("GET", "/v1/whoami", key=key.key).status for _ in range(61)]
    assert statuses == [200] * 60 + [429]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("name", "", "name is required"),
        ("name", " \t ", "name is required"),
        ("name", 10, "name must be a string"),
        ("name", "x" * 10_000, "name must have at most 200 characters"),
        ("rate_limit", 0, "rate_limit must be from 1 to 60000"),
        ("rate_limit", -1, "rate_limit must be from 1 to 60000"),
        ("rate_limit", 10**9, "rate_limit must be from 1 to 60000"),
        ("rate_limit", "many", "rate_limit must be a whole number"),
        ("expires_at", "soon", "expires_at must be an RFC 3339 timestamp with Z or an offset"),
        ("expires_at", "2020-01-01T00:00:00Z", "expires_at must be in the future"),
        ("expires_at", 1, "expires_at must be a string"),
        ("metadata", [], "metadata must be an object"),
        ("metadata", {"x": "y" * 5000}, "metadata must be at most 4096 bytes"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_invalid_field_is_a_400_that_names_it(
    front: Front, admin: Holder, method: str, field: str, value: object, error: str
) -> None:
    path = "/v1/api-keys" if method == "POST" else f"/v1/api-keys/{admin.key_id}"
    answer = front(method, path, key=admin.key, body={"name": "x", field: value})
    assert answer.status == 400
    assert answer.json().items() >= {"error": error}.items()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("scopes", ["bogus"], "Unknown scope: bogus. Allowed: "),
        ("scopes", "*", "scopes must be a list"),
        ("permissions", [], "permissions must be an object"),
        ("permissions", {"signal_types": "task"}, "permissions.signal_types must be a list"),
        ("permissions", {"signal_types": ["x"]}, "Unknown entry in permissions.signal_types: x"),
        ("permissions", {"memory_scopes": ["x"]}, "Unknown entry in permissions.memory_scopes: x"),
        ("permissions", {"ring_scopes": [""]}, "permissions.ring_scopes must have printable"),
        (
            "permissions",
            {"task_types": [str(n) for n in range(51)]},
            "permissions.task_types must have at most 50 entries",
        ),
    ],
)
def test_invalid_grants_are_a_400_that_names_the_field(
    front: Front, admin: Holder, field: str, value: object, error: str
) -> None:
    answer = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x", field: value})
    assert answer.status == 400
    assert error_text(answer).startswith(error)


@pytest.mark.parametrize("enabled", [0, 1, "false", []])
def test_enabled_must_be_true_or_false(front: Front, admin: Holder, enabled: object) -> None:
    path = f"/v1/api-keys/{admin.key_id}"
    answer = front("PATCH", path, key=admin.key, body={"enabled": enabled})
    assert answer.status == 400
    assert answer.json().items() >= {"error": "enabled must be true or false"}.items()


def test_a_missing_name_is_a_400(front: Front, admin: Holder) -> None:
    for path, key in (("/v1/api-keys", admin.key), ("/v1/accounts", None)):
        answer = front("POST", path, key=key, body={})
        assert answer.status == 400
        assert answer.json().items() >= {"error": "name is required"}.items()


@pytest.mark.parametrize("name", ["", "  ", "x" * 10_000, 7, None, "a\x7fb"])
def test_an_account_needs_a_valid_name(front: Front, name: object) -> None:
    assert front("POST", "/v1/accounts", body={"name": name}).status == 400


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ([], {"GET": 403, "POST": 403, "DELETE": 403, "PATCH": 403, "rotate": 403}),
        (["services:read"], {"GET": 200, "POST": 403, "DELETE": 403, "PATCH": 403, "rotate": 403}),
        (["services:write"], {"GET": 403, "POST": 201, "DELETE": 404, "PATCH": 404, "rotate": 404}),
    ],
)
def test_each_route_needs_its_scope(
    front: Front, people: People, admin: Holder, scopes: list[str], status: dict[str, int]
) -> None:
    key = people.key_for(admin, people.member(admin, ceiling=Grants(tuple(scopes))), scopes=scopes)
    unknown = f"/v1/api-keys/{uuid.uuid4()}"
    got = {
        "GET": front("GET", "/v1/api-keys", key=key.key),
        "POST": front("POST", "/v1/api-keys", key=key.key, body={"name": "x", "scopes": scopes}),
        "DELETE": front("DELETE", unknown, key=key.key),
        "PATCH": front("PATCH", unknown, key=key.key, body={}),
        "rotate": front("POST", f"{unknown}/rotate", key=key.key, body={}),
    }
    assert {name: answer.status for name, answer in got.items()} == status
    for answer in got.values():
        if answer.status == 403:
            assert answer.json().items() >= {"error": "Insufficient API key scope"}.items()
    assert front("GET", "/v1/whoami", key=key.key).status == 200
