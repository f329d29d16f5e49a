"""Provider keys by their routes: stored, shown as configured, replaced and deleted."""

from __future__ import annotations

import pytest

from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import ClawType, Membership
from support.actors.people import Holder, People
from support.actors.provider_key_owner import ANTHROPIC, KEY, OPENAI, by_iam, get, put, trail
from support.aws.api_gateway import Front
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "held")
PLACES = {OPENAI: "transcription/openai", ANTHROPIC: "provider/anthropic"}


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_key_is_stored_shown_as_configured_replaced_and_deleted(
    front: Front, admin: Holder, held: HeldClock, path: str, shape: str
) -> None:
    front.shape = shape
    before = front("GET", path, key=admin.key)
    assert before.json() == {"configured": False, "updatedAt": None}
    assert put(front, admin, path).status == 204
    first = held.text()
    assert front("GET", path, key=admin.key).json() == {"configured": True, "updatedAt": first}
    assert get(front, admin, path) == {"value": KEY}
    held.advance(seconds=60)
    assert put(front, admin, path, "another").status == 204
    second = held.text()
    assert front("GET", path, key=admin.key).json()["updatedAt"] == second
    assert get(front, admin, path) == {"value": "another"}
    for _ in range(2):
        gone = front("DELETE", path, key=admin.key)
        assert (gone.status, gone.text) == (204, "")
    front.shape = "aws"
    assert front("GET", path, key=admin.key).json() == {"configured": False, "updatedAt": None}
    assert get(front, admin, path)["error"]["code"] == "SECRET_NOT_FOUND"
    assert [(one["action"], one["before"], one["after"]) for one in trail(front, admin)] == [
        ("secret.set", None, {"updated_at": first}),
        ("secret.read", None, None),
        ("secret.set", {"updated_at": first}, {"updated_at": second}),
        ("secret.read", None, None),
        ("secret.delete", {"updated_at": second}, None),
    ]


def test_the_audit_trail_has_who_read_and_who_wrote_a_key(front: Front, admin: Holder) -> None:
    put(front, admin)
    get(front, admin)
    written, read = trail(front, admin)
    assert written["actor"] == f"identity:{admin.identity_id}"
    assert written["via"] == f"api_key:{admin.key_id}"
    assert written["target"] == read["target"] == "secret:provider/anthropic"
    assert (read["actor"], read["via"], read["source_address"]) == ("system:iam", None, None)


def test_keys_of_other_names_and_accounts_are_separate(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    put(front, admin, OPENAI, "for transcription")
    put(front, admin, "/api/auth/providers/openai", "for the rest")
    put(front, stranger, OPENAI, "a stranger's")
    assert front("DELETE", "/api/auth/providers/openai", key=stranger.key).status == 204
    answer = by_iam(front, do="get", account=admin.account_id, secret="provider/openai")
    assert answer == {"value": "for the rest"}
    assert get(front, admin, OPENAI) == {"value": "for transcription"}
    assert get(front, stranger, OPENAI) == {"value": "a stranger's"}
    assert front("GET", ANTHROPIC, key=stranger.key).json()["configured"] is False


@pytest.mark.parametrize("path", PLACES)
def test_scope_and_policy_are_both_required(
    front: Front, people: People, admin: Holder, path: str
) -> None:
    reader = people.key(admin, scopes=["services:read"])
    writer = people.key(admin, scopes=["services:write"])
    assert front("GET", path, key=reader.key).status == 200
    assert put(front, writer, path).status == 204
    assert front("DELETE", path, key=writer.key).status == 204
    for refused in (
        front("GET", path, key=writer.key),
        put(front, reader, path),
        front("DELETE", path, key=reader.key),
    ):
        assert (refused.status, refused.json()["error"]) == (403, "Insufficient API key scope")


@pytest.mark.parametrize("claw_type", ClawType)
def test_only_an_identity_that_may_manage_is_let_through(
    front: Front, people: People, admin: Holder, claw_type: ClawType
) -> None:
    member = people.key_for(admin, people.member(admin, claw_type=claw_type))
    before = State(people.tables).main
    for refused in (
        front("GET", ANTHROPIC, key=member.key),
        put(front, member),
        front("DELETE", ANTHROPIC, key=member.key),
    ):
        assert refused.status == 403
        assert refused.json()["error"].startswith("Denied by ")
    assert State(people.tables).main == before
    acting = people.member(admin, is_admin=True, membership=Membership.ACTIVE)
    assert put(front, people.key_for(admin, acting)).status == 204


def test_without_a_credential_every_route_is_401(front: Front) -> None:
    for path in PLACES:
        assert front("GET", path).status == 401


@pytest.mark.parametrize("path", PLACES)
def test_a_missing_key_returns_the_documented_error(front: Front, admin: Holder, path: str) -> None:
    for body in ({}, {"apiKey": None}, {"apiKey": ""}, {"apiKey": "  "}, b""):
        refused = front("PUT", path, key=admin.key, body=body)
        assert refused.json().items() >= {"error": "apiKey is required", "status": 400}.items()


def test_the_error_of_a_bad_key_names_its_field_and_not_its_value(
    front: Front, admin: Holder
) -> None:
    for value, message in (
        (5, "apiKey must be a string"),
        (["x"], "apiKey must be a string"),
        ("k" * 4_097, "apiKey must have at most 4096 characters"),
        ("line\nfeed", "apiKey must not have control, line-separating or bidirectional characters"),
        ("nul\0", "apiKey must not have control, line-separating or bidirectional characters"),
        ("\x7f", "apiKey must not have control, line-separating or bidirectional characters"),
    ):
        refused = put(front, admin, value=value)
        assert refused.json().items() >= {"error": message, "status": 400}.items()
    assert front("GET", ANTHROPIC, key=admin.key).json()["configured"] is False


def test_any_other_key_is_stored_unchanged(front: Front, admin: Holder) -> None:
    for value in ("k", "k" * 4_096, "gr\u00fc\u00dfe \u20ac", "with spaces inside"):
        assert put(front, admin, value=value).status == 204
        assert get(front, admin) == {"value": value}


def test_a_bad_provider_name_is_refused(front: Front, admin: Holder) -> None:
    for name in ("Anthropic", "a_b", "a" * 65, "a.b", "a b", "\u00e4", "%23", "%00"):
        path = f"/api/auth/providers/{name}"
        for refused in (
            front("GET", path, key=admin.key),
            put(front, admin, path),
            front("DELETE", path, key=admin.key),
        ):
            assert (
                refused.json().items() >= {"error": "Invalid provider name", "status": 400}.items()
            ), name
    assert put(front, admin, "/api/auth/providers/a%2Fb").status == 404


def test_any_other_provider_name_is_accepted(front: Front, admin: Holder) -> None:
    for name in ("a", "a" * 64, "0-9", "-"):
        assert put(front, admin, f"/api/auth/providers/{name}").status == 204


def test_an_account_has_at_most_50_keys_and_one_for_transcription(
    front: Front, admin: Holder, stack: Tables
) -> None:
    for number in range(50):
        assert put(front, admin, f"/api/auth/providers/p{number}").status == 204
    assert put(front, admin, OPENAI).status == 204
    before = State(stack).main
    full = put(front, admin)
    assert (full.status, full.json()["error"]) == (409, "An account has at most 50 provider keys")
    assert State(stack).main == before
    assert put(front, admin, "/api/auth/providers/p7").status == 204
    for _ in range(2):
        assert front("DELETE", "/api/auth/providers/p7", key=admin.key).status == 204
    assert put(front, admin).status == 204
    assert put(front, admin, "/api/auth/providers/p7").status == 409
