"""The account surface's routes, over HTTP."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, badly_summed, hire, open_tenant, unknown_key

LISTED = {"id", "account_id", "name", "key_prefix", "created_at", "revoked_at"}


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_account_opens_with_its_first_key(stack: Deployed) -> None:
    made = stack.call("POST", "/v1/accounts", json={"name": "Acme"})

    assert made.status_code == 201
    data = made.json()["data"]
    assert set(data["account"]) == {"id", "name", "plan", "created_at"}
    first = data["api_key"]
    assert set(first) == {
        "id", "account_id", "name", "key_prefix", "created_at", "key", "plain_key",
    }  # fmt: skip
    assert first["key"] == first["plain_key"]
    assert (first["name"], first["account_id"]) == ("default", data["account"]["id"])
    me = stack.call("GET", "/v1/whoami", key=first["key"]).json()["data"]
    assert me["account"] == data["account"]
    assert me["identity"]["is_admin"] is True
    assert me["grants"]["scopes"] == ["*"]


@pytest.mark.parametrize("name", [None, "", 5, "n" * 10_000, ["x"]])
def test_an_account_needs_a_name(stack: Deployed, name: Any) -> None:
    refused = stack.call("POST", "/v1/accounts", json={"name": name})

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("name ")


def test_keys_are_made_and_listed_oldest_first(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    made = tenant.make_key(name="production")

    assert set(made) == LISTED | {"key"}
    assert made["revoked_at"] is None
    listed = tenant.call("GET", "/v1/api-keys").json()
    assert [key["name"] for key in listed["data"]] == ["default", "production"]
    assert all(set(key) == LISTED for key in listed["data"])
    assert set(listed) == {"data"}


def test_pages_carry_their_cursor_in_the_body(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    for _ in range(2):
        tenant.make_key()

    first = tenant.call("GET", "/v1/api-keys", params={"limit": 2}).json()
    rest = tenant.call("GET", "/v1/api-keys", params={"limit": 2, "after": first["cursor"]}).json()
    assert len(first["data"]) == 2
    assert len(rest["data"]) == 1
    assert "cursor" not in rest
    other = tenant.call("GET", "/api/auth/keys", params={"after": first["cursor"]})
    assert other.status_code == 400


def test_a_key_is_revoked_once(tenant: Tenant) -> None:
    made = tenant.make_key()
    path = f"/v1/api-keys/{made['id']}"

    assert tenant.call("DELETE", path).status_code == 204
    for method, more in (
        ("DELETE", {}),
        ("PATCH", {"json": {"name": "x"}}),
    ):
        refused = tenant.call(method, path, **more)
        assert refused.status_code == 404
        assert refused.json() == {"error": "Not Found"}
    assert tenant.call("POST", f"{path}/rotate").status_code == 404
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 401


def test_the_key_in_use_may_revoke_itself(tenant: Tenant) -> None:
    made = tenant.make_key()

    path = f"/v1/api-keys/{made['id']}"
    assert tenant.stack.call("DELETE", path, key=made["key"]).status_code == 204
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 401


@pytest.mark.parametrize("odd", ["7", "not-a-uuid", "{0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e}"])
def test_an_id_that_is_no_uuid_is_refused(tenant: Tenant, odd: str) -> None:
    for method, path in (
        ("DELETE", f"/v1/api-keys/{odd}"),
        ("PATCH", f"/v1/api-keys/{odd}"),
        ("POST", f"/v1/api-keys/{odd}/rotate"),
    ):
        refused = tenant.call(method, path, json={})
        assert refused.status_code == 400
        assert refused.json() == {"error": "invalid id"}


def test_two_accounts_cannot_see_each_other(stack: Deployed, tenant: Tenant) -> None:
    theirs = tenant.make_key(name="theirs")
    stranger = open_tenant(stack)

    assert theirs["id"] not in stranger.call("GET", "/v1/api-keys").text
    assert theirs["id"] not in stranger.call("GET", "/api/auth/keys?status=all").text
    assert theirs["id"] not in stranger.call("GET", "/admin/api-keys").text
    assert theirs["id"] not in stranger.call("GET", "/admin/audit").text
    path = f"/v1/api-keys/{theirs['id']}"
    assert stranger.call("DELETE", path).status_code == 404
    assert stranger.call("PATCH", path, json={"enabled": False}).status_code == 404
    assert stranger.call("POST", f"{path}/rotate").status_code == 404
    assert stranger.call("POST", f"/admin/api-keys/{theirs['id']}/revoke").status_code == 404
    assert stranger.call("POST", f"/admin/api-keys/{theirs['id']}/rotate").status_code == 404
    verified = stranger.call("POST", "/v1/keys/verify", json={"key": theirs["key"]})
    answer = verified.json()["data"]
    assert (answer["valid"], answer["code"], answer["key_id"]) == (False, "NOT_FOUND", None)
    assert stack.call("GET", "/v1/whoami", key=theirs["key"]).status_code == 200


def test_an_employee_neither_sees_nor_touches_an_admins_key(tenant: Tenant) -> None:
    admins = tenant.make_key(name="the admin's")
    employee = hire(tenant)
    path = f"/v1/api-keys/{admins['id']}"

    def call(method: str, where: str, **more: Any) -> Any:
        return tenant.stack.call(method, where, key=employee, **more)

    assert admins["id"] not in call("GET", "/v1/api-keys").text
    assert admins["id"] not in call("GET", "/api/auth/keys").text
    assert call("POST", f"{path}/rotate").status_code == 404
    assert call("PATCH", path, json={"name": "mine"}).status_code == 404
    assert call("DELETE", path).status_code == 404
    answer = call("POST", "/v1/keys/verify", json={"key": admins["key"]}).json()["data"]
    assert answer["code"] == "NOT_FOUND"
    own = call("POST", "/v1/api-keys", json={"name": "own"})
    assert own.status_code == 201
    listed = call("GET", "/v1/api-keys").json()["data"]
    assert [key["name"] for key in listed] == ["member", "own"]


def test_rotation_ends_the_old_key_at_once(tenant: Tenant) -> None:
    old = tenant.make_key(name="rotating", rate_limit=60, metadata={"team": "billing"})

    rotated = tenant.call("POST", f"/v1/api-keys/{old['id']}/rotate")
    assert rotated.status_code == 201
    new = rotated.json()["data"]
    assert set(new) == LISTED | {"key"}
    assert (new["name"], new["id"] != old["id"]) == ("rotating", True)
    assert tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 401
    me = tenant.stack.call("GET", "/v1/whoami", key=new["key"]).json()["data"]
    assert me["key"]["rate_limit"] == 60
    assert me["key"]["metadata"] == {"team": "billing"}


def test_a_rotated_key_lives_on_for_its_grace(tenant: Tenant) -> None:
    old = tenant.make_key()
    rotated = tenant.call("POST", f"/v1/api-keys/{old['id']}/rotate", json={"grace_seconds": 2})
    began = time.monotonic()

    assert rotated.status_code == 201
    assert tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 200
    listed = tenant.call("GET", "/v1/api-keys").json()["data"]
    assert old["id"] in {key["id"] for key in listed}
    while tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 200:
        assert time.monotonic() - began < 10
        time.sleep(0.1)
    assert time.monotonic() - began > 1.5
    assert tenant.call("DELETE", f"/v1/api-keys/{old['id']}").status_code == 404


def test_a_grace_never_outlives_the_old_expiry(tenant: Tenant) -> None:
    old = tenant.make_key(expires_at=in_seconds(3))
    rotated = tenant.call(
        "POST", f"/v1/api-keys/{old['id']}/rotate", json={"grace_seconds": 86_400}
    )

    assert rotated.status_code == 201
    deadline = time.monotonic() + 10
    while tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1, "60", 1.5, True, None])
def test_a_grace_out_of_range_is_refused(tenant: Tenant, grace: Any) -> None:
    old = tenant.make_key()
    refused = tenant.call("POST", f"/v1/api-keys/{old['id']}/rotate", json={"grace_seconds": grace})

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("grace_seconds must be")
    assert tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 200


def test_an_expired_key_is_409_for_rotate_and_can_be_extended(tenant: Tenant) -> None:
    made = tenant.make_key(expires_at=in_seconds(1))
    path = f"/v1/api-keys/{made['id']}"
    deadline = time.monotonic() + 10
    while tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert tenant.call("POST", f"{path}/rotate").status_code == 409
    extended = tenant.call("PATCH", path, json={"expires_at": in_seconds(600)})
    assert extended.status_code == 200
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 200


def test_a_key_is_changed(tenant: Tenant) -> None:
    made = tenant.make_key()
    path = f"/v1/api-keys/{made['id']}"

    changed = tenant.call(
        "PATCH", path, json={"name": "new name", "rate_limit": 30, "metadata": {"a": [1, 2.5]}}
    ).json()["data"]
    assert (changed["name"], changed["rate_limit"]) == ("new name", 30)
    assert changed["metadata"] == {"a": [1, 2.5]}
    assert tenant.call("PATCH", path, json={"enabled": False}).json()["data"]["enabled"] is False
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 401
    tenant.call("PATCH", path, json={"enabled": True})
    me = tenant.stack.call("GET", "/v1/whoami", key=made["key"])
    assert me.status_code == 200
    assert me.headers["ratelimit-limit"] == "30"


def test_the_operators_key_has_no_limit_and_may_take_one_away(stack: Deployed) -> None:
    made = stack.call("POST", "/v1/api-keys", key=stack.admin_key, json={"name": "limited"})
    assert made.status_code == 201
    path = f"/v1/api-keys/{made.json()['data']['id']}"

    changed = stack.call("PATCH", path, key=stack.admin_key, json={"rate_limit": None})
    assert changed.json()["data"]["rate_limit"] is None
    me = stack.call("GET", "/v1/whoami", key=made.json()["data"]["key"])
    assert me.status_code == 200
    assert "ratelimit-limit" not in me.headers


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": ""}, "name is required"),
        ({"name": None}, "name must be a string"),
        ({"enabled": None}, "enabled must be true or false"),
        ({"enabled": "yes"}, "enabled must be true or false"),
        ({"rate_limit": 60_001}, "rate_limit must be from 1 to 60000"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at must be in the future"),
        ({"metadata": []}, "metadata must be an object"),
        ({"metadata": {"x": "y" * 5_000}}, "metadata must be at most 4096 bytes"),
    ],
)
def test_a_bad_patch_changes_nothing(tenant: Tenant, body: dict[str, Any], error: str) -> None:
    made = tenant.make_key()

    refused = tenant.call("PATCH", f"/v1/api-keys/{made['id']}", json=body)
    assert refused.status_code == 400
    assert refused.json() == {"error": error}
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 200


def test_nobody_mints_beyond_their_own_key(tenant: Tenant) -> None:
    narrow = tenant.make_key(scopes=["services:*"], rate_limit=100, expires_at=in_seconds(600))

    def mint(**fields: Any) -> Any:
        return tenant.stack.call(
            "POST", "/v1/api-keys", key=narrow["key"], json={"name": "x", **fields}
        )

    for fields, named in (
        ({"expires_at": in_seconds(60)}, "scopes"),
        ({"scopes": ["services:read", "agents:read"], "expires_at": in_seconds(60)}, "agents:read"),
        ({"scopes": ["services:read"]}, "expires_at"),
        ({"scopes": ["services:read"], "expires_at": in_seconds(6_000)}, "expires_at"),
        (
            {"scopes": ["services:read"], "expires_at": in_seconds(60), "rate_limit": 101},
            "rate_limit",
        ),
        (
            {"scopes": ["services:read"], "expires_at": in_seconds(60), "rate_limit": None},
            "rate_limit",
        ),
    ):
        refused = mint(**fields)
        assert refused.status_code == 403, fields
        assert named in refused.json()["error"]
    within = mint(scopes=["services:read"], expires_at=in_seconds(60))
    assert within.status_code == 201
    wide = tenant.make_key()
    for method, path in (
        ("DELETE", f"/v1/api-keys/{wide['id']}"),
        ("POST", f"/v1/api-keys/{wide['id']}/rotate"),
        ("PATCH", f"/v1/api-keys/{wide['id']}"),
    ):
        assert tenant.stack.call(method, path, key=narrow["key"], json={}).status_code == 403


def test_verify_gives_its_codes_in_order(tenant: Tenant) -> None:
    def code(key: str, **question: Any) -> str:
        asked = tenant.call("POST", "/v1/keys/verify", json={"key": key, **question})
        assert asked.status_code == 200, asked.text
        answer = asked.json()["data"]
        assert answer["valid"] is (answer["code"] == "VALID")
        return str(answer["code"])

    made = tenant.make_key(
        scopes=["agents:read"], permissions={"signal_types": ["task"]}, rate_limit=2
    )
    path = f"/v1/api-keys/{made['id']}"
    key = made["key"]
    assert code(unknown_key()) == "NOT_FOUND"
    assert code(badly_summed(key)) == "NOT_FOUND"
    assert code("nonsense") == "NOT_FOUND"
    # None of the refused ones spends a request of the two.
    for _ in range(3):
        assert code(key, scope="agents:write") == "INSUFFICIENT_SCOPE"
        assert code(key, signal_type="alert") == "FORBIDDEN"
        assert code(key, action="signal:emit") == "FORBIDDEN"
        assert code(key, memory_op="store") == "FORBIDDEN"
    assert code(key, scope="agents:read", signal_type="task") == "VALID"
    assert code(key) == "VALID"
    assert code(key) == "RATE_LIMITED"
    assert code(key, scope="agents:write") == "INSUFFICIENT_SCOPE"
    tenant.call("PATCH", path, json={"enabled": False})
    assert code(key) == "DISABLED"
    tenant.call("DELETE", path)
    assert code(key) == "REVOKED"


def test_verify_tells_what_it_knows(tenant: Tenant) -> None:
    made = tenant.make_key(scopes=["agents:read"], rate_limit=60, metadata={"plan": "gold"})

    data = tenant.call("POST", "/v1/keys/verify", json={"key": made["key"]}).json()["data"]
    assert set(data) == {
        "valid", "code", "key_id", "account_id", "identity", "scopes", "permissions", "ratelimit",
        "expires_at", "metadata",
    }  # fmt: skip
    assert (data["key_id"], data["account_id"]) == (made["id"], tenant.account_id)
    assert data["ratelimit"] == {"limit": 60, "remaining": 59, "reset": 1}
    assert data["metadata"] == {"plan": "gold"}


@pytest.mark.parametrize(
    "body",
    [{}, {"key": 5}, {"key": "x", "scope": "planets:read"}, {"key": "x", "memory_op": "burn"},
     {"key": "x", "action": "fly"}, {"key": "x", "signal_type": "noise"}],
)  # fmt: skip
def test_a_bad_question_is_refused_by_name(tenant: Tenant, body: dict[str, Any]) -> None:
    refused = tenant.call("POST", "/v1/keys/verify", json=body)

    assert refused.status_code == 400
    assert refused.json()["error"].split(" ")[0] in {"key", *body}


def test_an_idempotency_key_makes_one_key(tenant: Tenant) -> None:
    header = {"Idempotency-Key": str(uuid.uuid4())}
    first = tenant.call("POST", "/v1/api-keys", json={"name": "once"}, headers=header)
    again = tenant.call("POST", "/v1/api-keys", json={"name": "once"}, headers=header)
    other = tenant.call("POST", "/v1/api-keys", json={"name": "twice"}, headers=header)

    assert first.status_code == 201
    assert again.status_code == 409
    assert first.json()["data"]["id"] in again.json()["error"]
    assert other.status_code == 409
    names = [key["name"] for key in tenant.call("GET", "/v1/api-keys").json()["data"]]
    assert names.count("once") == 1
    assert "twice" not in names
