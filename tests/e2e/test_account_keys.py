"""The account surface's routes on the deployed stack."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.actors.deployed_tenant import Tenant, open_tenant, unknown_key, with_wrong_checksum
from support.worlds.deployed_stack import Deployed

LISTED = {"id", "account_id", "name", "key_prefix", "created_at", "revoked_at"}


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_new_account_has_an_admin_with_one_key(stack: Deployed) -> None:
    made = stack.call_throttled("POST", "/v1/accounts", json={"name": "Acme"})

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


def test_an_account_without_a_name_is_refused(stack: Deployed) -> None:
    refused = stack.call_throttled("POST", "/v1/accounts", json={"name": ""})

    assert (refused.status_code, refused.json()["error"]) == (400, "name is required")


def test_keys_are_created_and_listed_in_pages_oldest_first(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    made = tenant.make_key(name="production")
    tenant.make_key(name="staging")

    assert set(made) >= LISTED | {"key", "scopes", "permissions", "expires_at", "rate_limit"}
    assert made["revoked_at"] is None
    whole = tenant.call("GET", "/v1/api-keys").json()
    assert [key["name"] for key in whole["data"]] == ["default", "production", "staging"]
    assert all(set(key) == LISTED for key in whole["data"])
    assert set(whole) == {"data"}
    first = tenant.call("GET", "/v1/api-keys", params={"limit": 2}).json()
    rest = tenant.call("GET", "/v1/api-keys", params={"limit": 2, "after": first["cursor"]}).json()
    assert first["data"] + rest["data"] == whole["data"]
    assert "cursor" not in rest
    other_list = tenant.call("GET", "/api/auth/keys", params={"after": first["cursor"]})
    assert other_list.status_code == 400


def test_a_revoked_key_is_401_and_its_id_is_404(tenant: Tenant) -> None:
    made = tenant.make_key()
    path = f"/v1/api-keys/{made['id']}"

    assert tenant.call("DELETE", path).status_code == 204
    for refused in (
        tenant.call("DELETE", path),
        tenant.call("PATCH", path, json={"name": "x"}),
        tenant.call("POST", f"{path}/rotate"),
    ):
        assert (refused.status_code, refused.json()["error"]) == (404, "Not Found")
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 401


def test_a_key_may_revoke_itself(tenant: Tenant) -> None:
    made = tenant.make_key()

    path = f"/v1/api-keys/{made['id']}"
    assert tenant.stack.call("DELETE", path, key=made["key"]).status_code == 204
    assert tenant.stack.call("GET", "/v1/whoami", key=made["key"]).status_code == 401


def test_an_id_that_is_not_a_uuid_is_400(tenant: Tenant) -> None:
    for method, path in (
        ("DELETE", "/v1/api-keys/7"),
        ("PATCH", "/v1/api-keys/7"),
        ("POST", "/v1/api-keys/7/rotate"),
    ):
        refused = tenant.call(method, path, json={})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid id")


def test_an_account_cannot_see_or_change_the_keys_of_another(
    stack: Deployed, tenant: Tenant
) -> None:
    theirs = tenant.make_key(name="theirs")
    stranger = open_tenant(stack)

    for path in ("/v1/api-keys", "/api/auth/keys?status=all", "/admin/api-keys", "/admin/audit"):
        assert theirs["id"] not in stranger.call("GET", path).text
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


def test_rotation_keeps_the_settings_and_ends_the_old_key_at_once(tenant: Tenant) -> None:
    old = tenant.make_key(name="rotating", rate_limit=60, metadata={"team": "billing"})

    rotated = tenant.call("POST", f"/v1/api-keys/{old['id']}/rotate")
    assert rotated.status_code == 201
    new = rotated.json()["data"]
    assert set(new) >= LISTED | {"key", "scopes", "permissions"}
    assert (new["name"], new["id"] != old["id"]) == ("rotating", True)
    assert tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 401
    me = tenant.stack.call("GET", "/v1/whoami", key=new["key"]).json()["data"]
    assert me["key"]["rate_limit"] == 60
    assert me["key"]["metadata"] == {"team": "billing"}


def test_graces_and_expiries_end_when_they_say(tenant: Tenant) -> None:
    """Three keys at once, since each needs seconds of real time."""
    began = time.monotonic()
    in_grace = tenant.make_key(name="in its grace")
    capped = tenant.make_key(name="expires within its grace", expires_at=in_seconds(6))
    expiring = tenant.make_key(name="expiring", expires_at=in_seconds(6))
    for key, grace in ((in_grace, 6), (capped, 86_400)):
        body = {"grace_seconds": grace}
        rotated = tenant.call("POST", f"/v1/api-keys/{key['id']}/rotate", json=body)
        assert rotated.status_code == 201
    rotated_at = time.monotonic()
    still_listed = {key["id"] for key in tenant.call("GET", "/v1/api-keys").json()["data"]}
    assert in_grace["id"] in still_listed

    ended: dict[str, float] = {}
    while len(ended) < 3:
        for key in (in_grace, capped, expiring):
            status = tenant.stack.call("GET", "/v1/whoami", key=key["key"]).status_code
            if status == 401:
                # When the answer came: the request may have waited for a cold function.
                ended.setdefault(key["name"], time.monotonic())
        assert time.monotonic() - rotated_at < 60, ended
        time.sleep(0.1)
    assert all(moment - began > 4.5 for moment in ended.values()), ended

    assert tenant.call("DELETE", f"/v1/api-keys/{in_grace['id']}").status_code == 404
    path = f"/v1/api-keys/{expiring['id']}"
    assert tenant.call("POST", f"{path}/rotate").status_code == 409
    extended = tenant.call("PATCH", path, json={"expires_at": in_seconds(600)})
    assert extended.status_code == 200
    assert tenant.stack.call("GET", "/v1/whoami", key=expiring["key"]).status_code == 200


def test_a_grace_of_more_than_thirty_days_is_400(tenant: Tenant) -> None:
    old = tenant.make_key()
    body = {"grace_seconds": 30 * 86_400 + 1}
    refused = tenant.call("POST", f"/v1/api-keys/{old['id']}/rotate", json=body)

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("grace_seconds must be")
    assert tenant.stack.call("GET", "/v1/whoami", key=old["key"]).status_code == 200


def test_a_patch_takes_effect_on_the_next_request(tenant: Tenant) -> None:
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
    refused = tenant.call("PATCH", path, json={"rate_limit": 60_001})
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "rate_limit must be from 1 to 60000",
    )


def test_the_operator_s_key_has_no_limit_and_may_remove_one(stack: Deployed) -> None:
    made = stack.call("POST", "/v1/api-keys", key=stack.admin_key, json={"name": "limited"})
    assert made.status_code == 201
    path = f"/v1/api-keys/{made.json()['data']['id']}"

    changed = stack.call("PATCH", path, key=stack.admin_key, json={"rate_limit": None})
    assert changed.json()["data"]["rate_limit"] is None
    me = stack.call("GET", "/v1/whoami", key=made.json()["data"]["key"])
    assert me.status_code == 200
    assert "ratelimit-limit" not in me.headers


def test_a_key_cannot_create_or_change_a_key_beyond_itself(tenant: Tenant) -> None:
    narrow = tenant.make_key(scopes=["services:*"], rate_limit=100, expires_at=in_seconds(600))

    def make(**fields: Any) -> Any:
        body = {"name": "x", "expires_at": in_seconds(60), **fields}
        return tenant.stack.call("POST", "/v1/api-keys", key=narrow["key"], json=body)

    for fields, named in (
        ({"scopes": ["services:read", "agents:read"]}, "agents:read"),
        ({"scopes": ["services:read"], "expires_at": in_seconds(6_000)}, "expires_at"),
        ({"scopes": ["services:read"], "rate_limit": 101}, "rate_limit"),
    ):
        refused = make(**fields)
        assert refused.status_code == 403, fields
        assert named in refused.json()["error"]
    assert make(scopes=["services:read"]).status_code == 201
    wide = tenant.make_key()
    path = f"/v1/api-keys/{wide['id']}"
    refused = tenant.stack.call("PATCH", path, key=narrow["key"], json={"name": "renamed"})
    assert refused.status_code == 403
    ended = tenant.stack.call("DELETE", path, key=narrow["key"])
    assert ended.status_code == 204, "ending a key of one's own identity is always allowed"


def test_verify_returns_each_code_in_the_documented_order(tenant: Tenant) -> None:
    def verify(key: str, **question: Any) -> dict[str, Any]:
        asked = tenant.call("POST", "/v1/keys/verify", json={"key": key, **question})
        assert asked.status_code == 200, asked.text
        answer: dict[str, Any] = asked.json()["data"]
        assert answer["valid"] is (answer["code"] == "VALID")
        return answer

    def code(key: str, **question: Any) -> str:
        return str(verify(key, **question)["code"])

    made = tenant.make_key(
        scopes=["agents:read"],
        permissions={"signal_types": ["task"]},
        rate_limit=2,
        metadata={"plan": "gold"},
    )
    path = f"/v1/api-keys/{made['id']}"
    key = made["key"]
    assert code(unknown_key()) == "NOT_FOUND"
    assert code(with_wrong_checksum(key)) == "NOT_FOUND"
    # A refused question spends none of the key's two requests.
    for _ in range(2):
        assert code(key, scope="agents:write") == "INSUFFICIENT_SCOPE"
        assert code(key, signal_type="alert") == "FORBIDDEN"
        assert code(key, memory_op="store") == "FORBIDDEN"
    valid = verify(key, scope="agents:read", signal_type="task")
    assert set(valid) == {
        "valid", "code", "key_id", "account_id", "identity", "scopes", "permissions", "ratelimit",
        "expires_at", "metadata",
    }  # fmt: skip
    assert (valid["code"], valid["key_id"]) == ("VALID", made["id"])
    assert (valid["account_id"], valid["metadata"]) == (tenant.account_id, {"plan": "gold"})
    assert valid["ratelimit"] == {"limit": 2, "remaining": 1, "reset": 30}
    assert code(key) == "VALID"
    assert code(key) == "RATE_LIMITED"
    assert code(key, scope="agents:write") == "INSUFFICIENT_SCOPE"
    tenant.call("PATCH", path, json={"enabled": False})
    assert code(key) == "DISABLED"
    tenant.call("DELETE", path)
    assert code(key) == "REVOKED"


def test_a_question_to_verify_that_cannot_be_read_is_400(tenant: Tenant) -> None:
    refused = tenant.call("POST", "/v1/keys/verify", json={"key": "x", "memory_op": "burn"})

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("memory_op ")


def test_an_idempotency_key_creates_one_key(tenant: Tenant) -> None:
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
