"""Secrets and header values of webhooks are shown once and kept nowhere in plain text."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.webhook_routes import (
    PATH,
    URL,
    VIEW,
    created,
    events,
    patch,
    post_webhook,
    rotate,
)
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, unreachable, wire
from support.checks.inspection import State
from support.checks.invariants import kind
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")


def test_a_rotated_secret_is_shown_once_with_the_expiry_of_the_old_one(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    webhook = created(front, admin)
    secrets = {webhook["secret"]}
    for asked, seconds in (({}, 86_400), ({"grace_seconds": 604_800}, 604_800), (None, 86_400)):
        body = {} if asked is None else asked
        rotated = rotate(front, admin, webhook, **body)
        assert rotated.status == 200, rotated.text
        data = rotated.json()["data"]
        assert set(data) == {"id", "secret", "old_secret_ends_at"}
        assert (data["id"], data["old_secret_ends_at"]) == (
            webhook["id"],
            held.text(seconds=seconds),
        )
        secrets.add(data["secret"])
    assert (
        rotate(front, admin, webhook, grace_seconds=0).json()["data"]["old_secret_ends_at"]
        == held.text()
    )
    assert len(secrets) == 4
    for wrong in (-1, 604_801, "60", 1.5, 10**30):
        refused = rotate(front, admin, webhook, grace_seconds=wrong)
        assert (refused.status, refused.json()["error"]["details"]) == (
            400,
            {"field": "grace_seconds"},
        )


def test_a_repeat_under_an_idempotency_key_shows_no_secret(front: Front, admin: Holder) -> None:
    once = {"Idempotency-Key": "once"}
    webhook = created(front, admin, sent=once)
    again = post_webhook(front, admin, sent=once)
    assert (again.status, again.json()["error"]["details"]) == (409, {"id": webhook["id"]})
    other = post_webhook(front, admin, sent=once, description="other")
    assert (other.status, other.json()["error"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(front("GET", PATH, key=admin.key).json()["data"]) == 1
    path = f"{PATH}/{webhook['id']}/rotate-secret"
    first = front("POST", path, key=admin.key, body={}, headers=once)
    second = front("POST", path, key=admin.key, body={}, headers=once)
    assert (first.status, second.status) == (200, 409)
    assert second.json()["error"]["details"] == {"id": webhook["id"]}
    assert first.json()["data"]["secret"] not in second.text


def test_each_change_has_an_audit_event_without_secrets(front: Front, admin: Holder) -> None:
    webhook = created(front, admin, url=f"{URL}?token=marker", headers={"X-A": "marker"})
    patch(front, admin, webhook, url=f"{URL}?token=marker2", headers={"X-A": "marker2"})
    rotate(front, admin, webhook, grace_seconds=60)
    front("DELETE", f"{PATH}/{webhook['id']}", key=admin.key)
    trail = events(front, admin)[:4]
    assert [event["action"] for event in trail] == [
        "webhook.delete",
        "webhook.rotate_secret",
        "webhook.update",
        "webhook.create",
    ]
    assert {event["target"] for event in trail} == {webhook["id"]}
    assert {event["actor"] for event in trail} == {f"identity:{admin.identity_id}"}
    assert trail[2]["after"]["changed"] == ["url", "headers"]
    assert "dropped_headers" not in trail[2]["after"]
    assert trail[3]["after"]["url"] == URL
    assert "marker" not in json.dumps(trail)


@pytest.mark.parametrize("away", [unreachable, lambda: error("KMSInternalException", 500)])
def test_while_kms_is_unavailable_requests_are_503_and_store_nothing(
    front: Front, admin: Holder, stack: Tables, kms: Wire, away: Any
) -> None:
    webhook = created(front, admin)
    before = State(stack).main
    kms.before = lambda *_: away()
    assert post_webhook(front, admin).status == 503
    assert rotate(front, admin, webhook).status == 503
    assert patch(front, admin, webhook, headers={"X-A": "1"}).status == 503
    assert State(stack).main == before
    assert front("GET", PATH, key=admin.key).status == 200
    assert patch(front, admin, webhook, active=False).status == 200
    kms.clear()
    assert rotate(front, admin, webhook).status == 200


def test_while_the_queue_is_unavailable_a_change_succeeds_with_its_marker(
    front: Front, admin: Holder, stack: Tables
) -> None:
    paused, removed = created(front, admin, active=False), created(front, admin)
    with wire(clients.sqs(), service="sqs") as queue:
        queue.before = lambda *_: unreachable()
        assert patch(front, admin, paused, active=True).status == 200
        path = f"{PATH}/{removed['id']}"
        assert front("DELETE", path, key=admin.key).status == 200
        assert queue.calls
    bare = {one["id"].removeprefix("webhook:") for one in (paused, removed)}
    notes = {item["sk"].partition("#")[2] for item in kind(State(stack), "WAKE#")}
    assert bare <= notes


def test_secrets_and_header_values_are_stored_and_logged_nowhere_in_plain(
    front: Front,
    admin: Holder,
    stack: Tables,
    kms: Wire,
    line: Wire,
    logs: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = "5ec2e7-header-value-5ec2e7"
    webhook = created(front, admin, headers={"X-A": value})
    old = webhook["secret"]
    new = rotate(front, admin, webhook).json()["data"]["secret"]
    path = f"{PATH}/{webhook['id']}"
    answers = [
        front("GET", PATH, key=admin.key),
        front("GET", path, key=admin.key),
        patch(front, admin, webhook, description="x"),
        patch(front, admin, webhook, headers={"X-A": f"{value}2"}),
        patch(front, admin, webhook, headers={"X-A": f"{value}\n"}),
        patch(front, admin, webhook, headers={"X-A": [value]}),
        patch(front, admin, webhook, headers={"Host": value}),
        patch(front, admin, webhook, headers=value),
        post_webhook(front, admin, headers={"X-A": value, "x-a": value}),
        front("GET", "/admin/audit", key=admin.key),
    ]
    for disturbed, operation in ((kms, "Decrypt"), (kms, "GenerateDataKey"), (line, "GetItem")):
        disturbed.before = lambda _, called, o=operation: (
            error("AccessDeniedException") if called == o else None
        )
        answers.append(patch(front, admin, webhook, headers={"X-A": f"{value}3"}))
        assert answers[-1].status in {500, 503}
        disturbed.clear()
    answers.append(front("DELETE", path, key=admin.key))
    out, err = capfd.readouterr()
    written = json.dumps(State(stack).main, default=repr) + logs.getvalue() + out + err
    everything = written + "".join(answer.text + str(answer.headers) for answer in answers)
    assert webhook["id"].removeprefix("webhook:") in everything, (
        "the search finds the webhook itself"
    )
    secrets = [secret.removeprefix("whsec_") for secret in (old, new)]
    marks = [secret[at : at + 12] for secret in secrets for at in range(0, 28, 4)]
    marks += [base64.b64decode(secret).hex()[:16] for secret in secrets]
    assert [mark for mark in [*marks, value[:12]] if mark in everything] == []


def test_a_new_origin_drops_header_values_unless_they_are_sent_again(
    front: Front, admin: Holder
) -> None:
    webhook = created(front, admin, headers={"Authorization": "Bearer x"})
    moved = patch(front, admin, webhook, url="http://127.0.0.1:9001/in").json()["data"]
    assert (moved["header_names"], moved["dropped_headers"]) == ([], ["Authorization"])
    assert events(front, admin)[0]["after"]["dropped_headers"] == ["Authorization"]
    sent = patch(front, admin, webhook, url=URL, headers={"X-A": "1"}).json()["data"]
    assert set(sent) == VIEW
    assert sent["header_names"] == ["X-A"]
