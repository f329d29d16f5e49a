"""Keys on the services surface: /api/auth/keys, camelCase, bare bodies."""

from __future__ import annotations

import re
import uuid

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.worlds.held_clock import HeldClock

KEY = re.compile(r"hb_[0-9a-f]{72}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_key_is_created_and_its_text_shown_once(front: Front, admin: Holder, shape: str) -> None:
    front.shape = shape
    fields = {
        "name": "  billing worker ",
        "scopes": ["services:read", "agents:*"],
        "expiresAt": "2999-01-01T00:00:00+01:00",
        "rateLimit": 60,
    }
    made = front("POST", "/api/auth/keys", key=admin.key, body=fields)
    front.shape = "aws"

    assert made.status == 201
    view = made.json()
    text = view.pop("key")
    assert KEY.fullmatch(text)
    assert uuid.UUID(view["id"]).version == 7
    assert INSTANT.fullmatch(view["createdAt"])
    assert view == {
        "id": view["id"],
        "name": "billing worker",
        "prefix": text[:7],
        "scopes": ["services:read", "agents:*"],
        "createdBy": admin.identity_id,
        "createdAt": view["createdAt"],
        "lastUsedAt": None,
        "expiresAt": "2998-12-31T23:00:00.000Z",
        "rateLimit": 60,
        "status": "active",
    }
    listed = front("GET", "/api/auth/keys", key=admin.key)
    assert view in listed.json()
    assert "key" not in listed.json()[0]
    assert text not in listed.text


def test_a_key_created_without_scopes_opens_nothing(front: Front, admin: Holder) -> None:
    made = front("POST", "/api/auth/keys", key=admin.key, body={"name": "bare"}).json()
    assert made["scopes"] == []
    assert made["rateLimit"] == 6000
    assert made["expiresAt"] is None
    refused = front("GET", "/api/auth/keys", key=made["key"])
    assert refused.status == 403
    assert refused.json().items() >= {"error": "Insufficient API key scope", "status": 403}.items()
    assert front("GET", "/v1/whoami", key=made["key"]).status == 200


@pytest.mark.parametrize(
    ("scopes", "method", "status"),
    [
        (["services:read"], "GET", 200),
        (["services:read"], "POST", 403),
        (["services:write"], "GET", 403),
        (["services:write"], "POST", 201),
        (["services:*"], "GET", 200),
        (["services:*"], "POST", 201),
        (["*:read"], "GET", 200),
        (["*:read"], "POST", 403),
        (["*:write"], "GET", 403),
        (["*"], "POST", 201),
        (["all"], "POST", 201),
        (["agents:*", "admin:manage"], "GET", 403),
    ],
)
def test_write_does_not_imply_read_and_wildcards_match(
    front: Front, people: People, admin: Holder, scopes: list[str], method: str, status: int
) -> None:
    key = people.key(admin, scopes=scopes)
    body = {"name": "below"} if method == "POST" else None
    assert front(method, "/api/auth/keys", key=key.key, body=body).status == status


def test_keys_are_listed_newest_first_with_a_cursor(front: Front, people: People) -> None:
    admin = people.tenant()
    made = [people.key(admin, name=f"key {n}").key_id for n in range(5)]
    expected = [*reversed(made), admin.key_id]
    everything = front("GET", "/api/auth/keys", key=admin.key)
    assert [view["id"] for view in everything.json()] == expected
    assert "x-next-cursor" not in everything.headers

    seen: list[str] = []
    cursor = None
    for _ in range(3):
        query = {"limit": "2"} | ({"after": cursor} if cursor else {})
        page = front("GET", "/api/auth/keys", key=admin.key, query=query)
        seen += [view["id"] for view in page.json()]
        cursor = page.headers.get("x-next-cursor")
    assert seen == expected
    assert cursor is None


def test_status_all_adds_revoked_and_expired_keys(
    front: Front, people: People, held: HeldClock
) -> None:
    admin = people.tenant()
    revoked = people.key(admin, name="revoked")
    expiring = people.key(admin, name="expiring", expires_at="2999-01-01T00:00:00Z")
    disabled = people.key(admin, name="disabled")
    soon = {"expires_at": held.text(seconds=1)}
    assert front("PATCH", f"/v1/api-keys/{expiring.key_id}", key=admin.key, body=soon).status == 200
    off = {"enabled": False}
    assert front("PATCH", f"/v1/api-keys/{disabled.key_id}", key=admin.key, body=off).status == 200
    assert front("DELETE", f"/api/auth/keys/{revoked.key_id}", key=admin.key).status == 204
    held.advance(seconds=1)

    active = front("GET", "/api/auth/keys", key=admin.key).json()
    assert {view["name"]: view["status"] for view in active} == {
        "default": "active",
        "disabled": "disabled",
    }
    everything = front("GET", "/api/auth/keys", key=admin.key, query={"status": "all"}).json()
    assert {view["name"]: view["status"] for view in everything} == {
        "default": "active",
        "disabled": "disabled",
        "expiring": "expired",
        "revoked": "revoked",
    }
    same = front("GET", "/api/auth/keys", key=admin.key, query={"status": "active"})
    assert same.json() == front("GET", "/api/auth/keys", key=admin.key).json()


def test_lists_show_the_last_use(front: Front, people: People, held: HeldClock) -> None:
    admin = people.tenant()
    used = people.key(admin, name="used")
    held.advance(seconds=7)
    front("GET", "/v1/whoami", key=used.key)
    at = held.text()
    held.advance(seconds=7)
    shown = {v["name"]: v for v in front("GET", "/api/auth/keys", key=admin.key).json()}
    assert shown["used"]["lastUsedAt"] == at
    assert shown["default"]["lastUsedAt"] == held.text()


def test_a_deleted_key_is_refused_on_the_next_request(front: Front, people: People) -> None:
    admin = people.tenant()
    revoked_key = people.key(admin)
    assert front("GET", "/api/auth/keys", key=revoked_key.key).status == 200
    gone = front("DELETE", f"/api/auth/keys/{revoked_key.key_id}", key=admin.key)
    assert gone.status == 204
    assert front("GET", "/api/auth/keys", key=revoked_key.key).status == 401
    again = front("DELETE", f"/api/auth/keys/{revoked_key.key_id}", key=admin.key)
    assert again.status == 404
    assert again.json().items() >= {"error": "API key not found", "status": 404}.items()


def test_an_unknown_key_is_a_404(front: Front, admin: Holder) -> None:
    answer = front("DELETE", f"/api/auth/keys/{uuid.uuid4()}", key=admin.key)
    assert answer.status == 404
    assert answer.json().items() >= {"error": "API key not found", "status": 404}.items()


@pytest.mark.parametrize(
    "bad",
    [
        "1",
        "not-a-uuid",
        "0190a3c47d527b1e9c1e2f3a4b5c6d7e",
        "{0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e}",
        "%00",
        "..",
        "%E2%84%AA190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "x" * 3000,
    ],
)
def test_an_id_that_is_not_a_uuid_is_a_400(front: Front, admin: Holder, bad: str) -> None:
    answer = front("DELETE", f"/api/auth/keys/{bad}", key=admin.key)
    assert answer.status == 400
    assert answer.json().items() >= {"error": "Invalid key id", "status": 400}.items()


def test_an_id_may_be_in_upper_case(front: Front, people: People, admin: Holder) -> None:
    key = people.key(admin)
    assert front("DELETE", f"/api/auth/keys/{key.key_id.upper()}", key=admin.key).status == 204


@pytest.mark.parametrize("bad", [{"name": ""}, {"name": "   "}, {}])
def test_a_name_is_required(front: Front, admin: Holder, bad: dict) -> None:
    answer = front("POST", "/api/auth/keys", key=admin.key, body=bad)
    assert answer.status == 400
    assert answer.json().items() >= {"error": "name is required", "status": 400}.items()


@pytest.mark.parametrize("unknown", ["nope", "services", "services:delete", "Services:read", "*:*"])
def test_an_unknown_scope_is_a_400_that_lists_the_allowed_ones(
    front: Front, admin: Holder, unknown: str
) -> None:
    body = {"name": "x", "scopes": ["services:read", unknown]}
    answer = front("POST", "/api/auth/keys", key=admin.key, body=body)
    assert answer.status == 400
    text = error_text(answer)
    assert text.startswith(f"Unknown scope: {unknown}. Allowed: ")
    for scope in ("agents:read", "commanders:write", "admin:manage", "*", "all", "services:*"):
        assert scope in text.split("Allowed: ")[1].split(", ")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("name", "x" * 10_000, "name must have at most 200 characters"),
        ("name", 7, "name must be a string"),
        ("name", None, "name is required"),
        ("name", ["x"], "name must be a string"),
        ("name", "a\nb", "name must not have control, line-separating or bidirectional characters"),
        (
            "name",
            "a\x00b",
            "name must not have control, line-separating or bidirectional characters",
        ),
        ("scopes", "services:read", "scopes must be a list"),
        ("scopes", [7], "scopes.0 must be a string"),
        ("scopes", ["x" * 65], "scopes.0 must have at most 64 characters"),
        ("scopes", [f"s{n}" for n in range(51)], "scopes must have at most 50 entries"),
        ("expiresAt", "yesterday", "expiresAt must be an RFC 3339 timestamp with Z or an offset"),
        ("expiresAt", "2999-01-01", "expiresAt must be an RFC 3339 timestamp with Z or an offset"),
        ("expiresAt", "2999-02-30T00:00:00Z", "expiresAt must be an RFC 3339 timestamp"),
        ("expiresAt", "2001-01-01T00:00:00Z", "expiresAt must be in the future"),
        ("expiresAt", "0001-01-01T00:00:00+14:00", "expiresAt must be"),
        ("expiresAt", "9999-12-31T23:59:59-12:00", "expiresAt must be"),
        ("expiresAt", 4102444800, "expiresAt must be a string"),
        ("rateLimit", 0, "rateLimit must be from 1 to 60000"),
        ("rateLimit", -5, "rateLimit must be from 1 to 60000"),
        ("rateLimit", 60_001, "rateLimit must be from 1 to 60000"),
        ("rateLimit", 10**40, "rateLimit must be from 1 to 60000"),
        ("rateLimit", 1.5, "rateLimit must be a whole number"),
        ("rateLimit", 1e400, "rateLimit must be a whole number"),
        ("rateLimit", "60", "rateLimit must be a whole number"),
        ("rateLimit", True, "rateLimit must be a whole number"),
    ],
)
def test_an_invalid_field_is_a_400_that_names_it(
    front: Front, admin: Holder, field: str, value: object, error: str
) -> None:
    body = {"name": "x", field: value}
    if value == float("inf"):
        body = '{"name": "x", "rateLimit": 1e400}'
    answer = front("POST", "/api/auth/keys", key=admin.key, body=body)
    assert answer.status == 400, answer.text
    assert error_text(answer).startswith(error)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"limit": "0"}, "limit must be at least 1"),
        ({"limit": "101"}, "limit must be at most 100"),
        ({"limit": "-1"}, "limit must be at least 1"),
        ({"limit": "ten"}, "limit must be a whole number"),
        ({"limit": ""}, "limit"),
        ({"limit": "1" * 5000}, "limit"),
        ({"after": ""}, "Invalid cursor"),
        ({"after": "made-up"}, "Invalid cursor"),
        ({"after": "é"}, "Invalid cursor"),
        ({"after": "A" * 4000}, "Invalid cursor"),
        ({"after": "AAAAAAAAAAAAAAAAAAAA"}, "Invalid cursor"),
        ({"status": "gone"}, "status"),
    ],
)
def test_an_invalid_query_parameter_is_a_400(
    front: Front, admin: Holder, query: dict[str, str], error: str
) -> None:
    answer = front("GET", "/api/auth/keys", key=admin.key, query=query)
    assert answer.status == 400, answer.text
    assert error_text(answer).startswith(error)


def test_a_cursor_of_another_account_or_list_is_refused(front: Front, people: People) -> None:
    one, other = people.tenant(), people.tenant()
    for holder in (one, other):
        people.key(holder)
    query = {"limit": "1"}
    foreign = front("GET", "/api/auth/keys", key=one.key, query=query).headers["x-next-cursor"]
    elsewhere = front("GET", "/v1/api-keys", key=other.key, query=query).headers["x-next-cursor"]
    for cursor in (foreign, elsewhere):
        answer = front("GET", "/api/auth/keys", key=other.key, query={"after": cursor})
        assert answer.status == 400
        assert error_text(answer) == "Invalid cursor"
