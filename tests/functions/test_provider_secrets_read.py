"""Reading provider keys by IAM, failures, changed settings keys, and that nothing leaks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gatehouse.core import clock
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.provider_key_owner import ANTHROPIC, KEY, OPENAI, by_iam, get, put, trail
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, unreachable
from support.checks.inspection import State, check_everything

pytestmark = pytest.mark.usefixtures("settings_key", "held")
PLACES = {OPENAI: "transcription/openai", ANTHROPIC: "provider/anthropic"}
VARIABLE = "HAMMURABI_SETTINGS_ENCRYPTION_KEY"


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
