"""Restarts by a hook: signed, called once, judged by its answer and by the service's health."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gatehouse.dynamo.table import Tables
from gatehouse.services import restart as restarts
from support.actors.people import Holder
from support.actors.receivers import receiving, response, saying
from support.actors.service_restarts import restart, trail
from support.aws.api_gateway import Front, error_text
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held")
OK = saying(response(b"fine"))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for a restart from twenty seconds to one."""
    monkeypatch.setattr(restarts, "_WITHIN", 1.0)


def hooked(front: Front, holder: Holder, health: str, hook: str, **headers: str) -> Answer:
    body = {"name": "billing", "healthUrl": health, "restartUrl": hook}
    return front("POST", "/api/services", key=holder.key, body=body, headers=headers)


def test_a_hook_gets_a_signed_request(
    front: Front, stack: Tables, tenant: Holder, held: HeldClock
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        made = hooked(front, tenant, health.url, f"{hook.url}/restart")
        assert made.status == 201, made.text
        secret = made.json()["restartSecret"]
        done = restart(front, tenant, "billing")
    assert (done.status, done.json()["state"], done.json()["kind"]) == (200, "done", "http")
    request = hook.requests[0]
    head, _, body = request.partition(b"\r\n\r\n")
    headers = _headers(head)
    assert head.startswith(b"POST /restart HTTP/1.1\r\n")
    assert json.loads(body) == {
        "type": "service.restart",
        "service": "billing",
        "requestedAt": held.text(),
    }
    assert headers["webhook-id"].startswith("restart:")
    assert Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"billing", b"another"), headers)
    events = trail(stack, tenant)
    assert [action for action, *_ in events] == ["service.restart", "service.restarted"]
    # The secret is shown once: neither the table, the audit trail nor a list contains it.
    key = secret.removeprefix("whsec_")
    everything = json.dumps(State(stack).main, default=repr)
    everything += front("GET", "/api/services/list", key=tenant.key).text
    assert "billing" in everything
    assert key not in everything


def _headers(head: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value.strip() for name, _, value in lines}


def test_an_http_service_without_a_hook_cannot_be_restarted(
    front: Front, stack: Tables, tenant: Holder
) -> None:
    with receiving(OK) as health:
        body = {"name": "billing", "healthUrl": health.url}
        made = front("POST", "/api/services", key=tenant.key, body=body)
        assert "restartSecret" not in made.json()
        refused = restart(front, tenant, "billing")
    assert (refused.status, error_text(refused)) == (409, 'Service "billing" has no restart hook')
    assert trail(stack, tenant) == []


@pytest.mark.parametrize(
    ("answer", "status", "what"),
    [
        (response(status="204 No Content"), 200, "done"),
        (response(status="202 Accepted"), 200, "in_progress"),
        (response(status="302 Found", headers="Location: /\r\n"), 409, "answered 302"),
        (response(status="500 Oh"), 409, "answered 500"),
        (b"?\r\n\r\n", 409, "its hook: "),
    ],
)
def test_the_status_of_a_hook_s_answer_decides_the_outcome(
    front: Front, stack: Tables, tenant: Holder, answer: bytes, status: int, what: str
) -> None:
    with receiving(OK) as health, receiving(saying(answer)) as hook:
        hooked(front, tenant, health.url, hook.url)
        done = restart(front, tenant, "billing")
    assert done.status == status
    assert what in done.text
    assert len(hook.requests) == 1, "it is called once"
    outcome = trail(stack, tenant)[1][2]["state"]
    assert outcome == (what if status == 200 else "failed")


def test_a_hook_that_refuses_the_connection_is_409(front: Front, tenant: Holder) -> None:
    with receiving(OK) as health:
        with receiving(OK) as hook:
            hooked(front, tenant, health.url, hook.url)
        refused = restart(front, tenant, "billing")
    assert refused.status == 409
    assert "refused the connection" in error_text(refused)


@pytest.mark.usefixtures("soon")
def test_a_service_that_is_not_yet_healthy_is_in_progress(front: Front, tenant: Holder) -> None:
    down = saying(response(status="503 Starting"))
    with receiving(down) as health, receiving(OK) as hook:
        hooked(front, tenant, health.url, hook.url)
        assert restart(front, tenant, "billing").json()["state"] == "in_progress"


@pytest.mark.usefixtures("soon")
def test_a_hook_that_has_not_answered_yet_is_in_progress(front: Front, tenant: Holder) -> None:
    def slowly(*_: Any) -> None:
        time.sleep(1.5)

    with receiving(OK) as health, receiving(slowly) as hook:
        hooked(front, tenant, health.url, hook.url)
        assert restart(front, tenant, "billing").json()["state"] == "in_progress"


def test_a_hook_at_an_address_that_became_forbidden_is_not_called(
    front: Front, tenant: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        hooked(front, tenant, health.url, hook.url)
        monkeypatch.setenv("GATEHOUSE_OUTBOUND", "guarded")
        refused = restart(front, tenant, "billing")
    assert refused.status == 409
    assert "must not be called" in error_text(refused)
    assert hook.connections == 0


def test_deleting_a_service_deletes_its_restart_secret(
    front: Front, stack: Tables, tenant: Holder
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        old = hooked(front, tenant, health.url, hook.url).json()["restartSecret"]
        front("DELETE", "/api/services/billing", key=tenant.key)
        kinds = {item["pk"] for item in State(stack).main}
        assert f"SECRET#{tenant.account_id}" not in kinds
        new = hooked(front, tenant, health.url, hook.url).json()["restartSecret"]
        restart(front, tenant, "billing")
    assert new != old
    head, _, body = hook.requests[0].partition(b"\r\n\r\n")
    assert Webhook(new).verify(body, _headers(head))


def test_a_repeated_registration_does_not_show_the_secret_again(
    front: Front, tenant: Holder
) -> None:
    with receiving(OK) as health, receiving(OK) as hook:
        once = {"Idempotency-Key": "once"}
        made = hooked(front, tenant, health.url, hook.url, **once)
        again = hooked(front, tenant, health.url, hook.url, **once)
    assert (made.status, again.status) == (201, 409)
    assert "service:billing" in error_text(again)
    assert made.json()["restartSecret"] not in again.text


def test_a_repeated_registration_without_a_hook_is_replayed(front: Front, tenant: Holder) -> None:
    with receiving(OK) as health:
        body = {"name": "billing", "healthUrl": health.url}
        answers = [
            front(
                "POST",
                "/api/services",
                key=tenant.key,
                body=body | other,
                headers={"Idempotency-Key": "once"},
            )
            for other in ({}, {}, {"name": "another"})
        ]
    assert [answer.status for answer in answers] == [201, 201, 409]
    assert answers[1].text == answers[0].text
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(health.requests) == 1
