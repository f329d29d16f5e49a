"""Provider keys through the front door: written by the API, read by IAM, leaked nowhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.core import clock
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import ClawType, Membership
from support.actors.people import Holder, People
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, unreachable, wire
from support.aws.invocation import Answer
from support.checks.inspection import State, check_everything
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "held")

OPENAI = "/api/auth/transcription/openai"
ANTHROPIC = "/api/auth/providers/anthropic"
PLACES = {OPENAI: "transcription/openai", ANTHROPIC: "provider/anthropic"}
KEY = "made-up-" + "5ec2e7d00d" * 4
VARIABLE = "HAMMURABI_SETTINGS_ENCRYPTION_KEY"


@pytest.fixture
def kms(settings_key: str) -> Iterator[Wire]:
    del settings_key
    with wire(clients.kms(), service="kms") as watching:
        yield watching


def put(front: Front, caller: Holder, path: str = ANTHROPIC, value: Any = KEY) -> Answer:
    return front("PUT", path, key=caller.key, body={"apiKey": value})


def by_iam(front: Front, **event: Any) -> dict[str, Any]:
    answer: dict[str, Any] = front.function("secrets").handler(event, invocation.Context())
    return answer


def get(front: Front, caller: Holder, path: str = ANTHROPIC) -> dict[str, Any]:
    return by_iam(front, do="get", account=caller.account_id, secret=PLACES[path])


def trail(front: Front, caller: Holder) -> list[dict[str, Any]]:
    """Read the audit events about secrets, oldest first."""
    events = front("GET", "/admin/audit", key=caller.key).json()["data"]["events"]
    return [event for event in events[::-1] if event["action"].startswith("secret.")]


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


# ---- Permissions ---------------------------------------------------------------------------------


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


# ---- Invalid requests ---------------------------------------------------------------------------


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


# ---- Reading by IAM ----------------------------------------------------------------------------


def test_iam_reads_only_provider_keys_and_errors_write_nothing(
    front: Front, admin: Holder, stack: Tables
) -> None:
    put(front, admin)
    before = State(stack).main
    for event, code in (
        ({}, "VALIDATION_INVALID_VALUE"),
        ({"do": "dance"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "peer/x"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "nonce/key"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "transcription/other"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "provider"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "provider/A"}, "VALIDATION_INVALID_VALUE"),
        ({"do": "get", "secret": "provider/unknown"}, "SECRET_NOT_FOUND"),
        ({"do": "get", "secret": "provider/anthropic", "account": "x"}, "SECRET_NOT_FOUND"),
    ):
        answer = by_iam(front, **{"account": admin.account_id, **event})
        assert list(answer) == ["error"]
        assert answer["error"]["code"] == code
    assert State(stack).main == before


def test_no_request_through_the_api_can_read_a_secret(front: Front, admin: Holder) -> None:
    """API Gateway writes the event. A caller sets values inside it, but no top-level names."""
    put(front, admin)
    event_fields = {"do": "get", "account": admin.account_id, "secret": "provider/anthropic"}
    answers = [
        front("PUT", ANTHROPIC, key=admin.key, body=event_fields),
        front("GET", ANTHROPIC, key=admin.key, query=event_fields),
        front("GET", ANTHROPIC, key=admin.key, headers=event_fields),
        front("PUT", ANTHROPIC, key=admin.key, body=json.dumps(event_fields).encode()),
    ]
    assert [answer.status for answer in answers] == [400, 400, 200, 400]
    event = {**invocation.event("secrets"), **event_fields}
    forged = front.function("secrets").handler(event, invocation.Context())
    assert (forged["statusCode"], "value" in forged) == (204, False)
    assert KEY not in json.dumps(forged) + "".join(answer.text for answer in answers)
    assert [one["action"] for one in trail(front, admin)] == ["secret.set"]


def test_a_key_is_returned_only_after_its_audit_event_is_written(
    front: Front, admin: Holder, line: Wire
) -> None:
    put(front, admin)
    line.before = lambda _, called: (
        error("ThrottlingException") if called == "TransactWriteItems" else None
    )
    answer = get(front, admin)
    line.clear()
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == "SERVICE_UNAVAILABLE"


# ---- Failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [unreachable, lambda: error("KMSInternalException", 500)])
def test_while_kms_is_unavailable_put_is_503_and_stores_nothing(
    front: Front, admin: Holder, stack: Tables, kms: Wire, away: Any
) -> None:
    put(front, admin)
    before = State(stack).main
    kms.before = lambda *_: away()
    assert put(front, admin, OPENAI).status == 503
    assert put(front, admin, value="another").status == 503
    assert get(front, admin)["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert State(stack).main == before
    assert front("GET", ANTHROPIC, key=admin.key).json()["configured"] is True
    kms.clear()
    assert get(front, admin) == {"value": KEY}


@pytest.fixture
def set_settings_key(aws: pytest.MonkeyPatch, front: Front, stack: Tables) -> Iterator[Any]:
    """Set both variables, as a deployment does. Afterwards KMS wraps all secrets again."""

    def set_to(current: str, previous: str = "") -> None:
        for name, value in ((VARIABLE, current), (f"{VARIABLE}_PREVIOUS", previous)):
            aws.setenv(name, value)
        front.renew("secrets")
        front.renew("rewrap")

    yield set_to
    set_to("", "ab" * 32)
    while not rewrap(front)["done"]:
        pass
    set_to("")
    assert not [item for item in State(stack).main if item.get("wrapped_by", "kms") != "kms"]


def rewrap(front: Front, **event: Any) -> dict[str, Any]:
    answer: dict[str, Any] = front.function("rewrap").handler(
        {"do": "rewrap", **event}, invocation.Context()
    )
    return answer


@pytest.mark.parametrize("bad", ["short", "x" * 300])
def test_with_a_malformed_settings_key_nothing_is_stored(
    front: Front, admin: Holder, stack: Tables, set_settings_key: Any, bad: str
) -> None:
    before = State(stack).main
    set_settings_key(bad)
    refused = put(front, admin)
    assert refused.status == 500
    assert refused.json()["error"].startswith(f"{VARIABLE} must be 64 hex characters")
    assert bad not in refused.text
    assert rewrap(front)["error"]["code"] == "SETTINGS_KEY_UNUSABLE"
    assert State(stack).main == before


def test_with_a_missing_or_wrong_settings_key_nothing_is_stored(
    front: Front, admin: Holder, stack: Tables, kms: Wire, set_settings_key: Any
) -> None:
    set_settings_key("ab" * 32)
    assert put(front, admin).status == 204
    assert get(front, admin) == {"value": KEY}
    assert kms.calls == []
    before = State(stack).main
    for other in ("", "cd" * 32):
        set_settings_key(other)
        for refused in (put(front, admin, OPENAI), put(front, admin, value="another")):
            assert refused.status == 500
            assert VARIABLE in refused.json()["error"]
        assert get(front, admin)["error"]["code"] == "SETTINGS_KEY_UNUSABLE"
        assert front("GET", ANTHROPIC, key=admin.key).json()["configured"] is True
    assert State(stack).main == before
    set_settings_key("ab" * 32)
    assert get(front, admin) == {"value": KEY}


def test_after_the_settings_key_changes_secrets_can_be_rewrapped(
    front: Front, admin: Holder, stack: Tables, kms: Wire, set_settings_key: Any
) -> None:
    assert put(front, admin).status == 204
    set_settings_key("cd" * 32)
    assert put(front, admin, OPENAI).status == 204
    for current, previous in (("cd" * 32, ""), ("ab" * 32, "cd" * 32)):
        set_settings_key(current, previous)
        first, second = rewrap(front), rewrap(front)
        assert (first["rewrapped"] > 0, first["left"], first["done"]) == (True, 0, False)
        assert (second["rewrapped"], second["left"], second["done"]) == (0, 0, True)
        kms.clear()
        set_settings_key(current)
        assert [get(front, admin, path) for path in PLACES] == [{"value": KEY}] * 2
        assert kms.calls == []
    wrapped = [one for one in trail(front, admin) if one["action"] == "secret.rewrap"]
    assert {one["actor"] for one in wrapped} == {"system:rewrap"}
    assert len(wrapped) == 3
    check_everything(stack, now=clock.now())


def test_a_rewrap_refuses_a_malformed_cursor(front: Front) -> None:
    for event in ({"cursor": "x"}, {"cursor": 5}, {"cursor": "e30="}, {"do": "dance"}):
        assert rewrap(front, **event)["error"]["code"] == "VALIDATION_INVALID_VALUE"


# ---- Leaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["", "ab" * 32], ids=["kms", "settings key"])
def test_a_provider_key_is_in_no_log_answer_item_or_output(  # noqa: PLR0917 - everything that writes
    front: Front,
    admin: Holder,
    stack: Tables,
    logs: io.StringIO,
    kms: Wire,
    line: Wire,
    set_settings_key: Any,
    capfd: pytest.CaptureFixture[str],
    own: str,
) -> None:
    set_settings_key(own)
    answers = [put(front, admin), put(front, admin, OPENAI), put(front, admin)]
    answers += [
        put(front, admin, f"/api/auth/providers/{KEY}X"),
        put(front, admin, value=[KEY]),
        put(front, admin, value={KEY: KEY}),
        put(front, admin, value=KEY + "\n"),
        put(front, admin, value=KEY * 100),
        front("PUT", ANTHROPIC, key=admin.key, body=f'{{"apiKey": "{KEY}"'),
        front("PUT", ANTHROPIC, key=admin.key, body=f'{{"apiKey": "{KEY}", "apiKey": "{KEY}"}}'),
        front("PUT", ANTHROPIC, key=admin.key, body=f'"{KEY}"'),
    ]
    for watching in (kms, line):
        watching.before = lambda *_: error("AccessDeniedException")
        answers.append(put(front, admin))
        watching.before = lambda *_: error("ThrottlingException")
        answers.append(put(front, admin))
        watching.clear()
    answer = get(front, admin)
    rewrap(front)
    answers += [front("GET", path, key=admin.key) for path in (ANTHROPIC, OPENAI, "/admin/audit")]
    answers.append(front("DELETE", OPENAI, key=admin.key))
    assert answer == {"value": KEY}
    written = repr(State(stack).main) + repr(State(stack).looked_up) + logs.getvalue()
    everything = written + "".join(answer.text + str(answer.headers) for answer in answers)
    out, err = capfd.readouterr()
    assert "provider#anthropic" in written, "the search reads what is there"
    assert KEY not in everything + out + err
    marks = [KEY[start : start + 12] for start in range(8, len(KEY) - 12, 5)]
    assert [mark for mark in marks if mark in everything + out + err] == []
    shown = [set(one["after"]) for one in trail(front, admin) if one["after"] is not None]
    assert shown
    assert all(fields == {"updated_at"} for fields in shown), "not even the key's length"
    assert not own or own not in everything + out + err
