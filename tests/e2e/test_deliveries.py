"""Deliveries of the deployed stack to real receivers: signed, retried, replayed.

One signal goes to a dozen webhooks at once, and each receiver answers in its own way. Each test
then checks one of the deliveries, so that all of them wait for real delays together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.actors.certificates import self_signed
from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Answer, Hold
from support.checks.signatures import check_delivery
from support.worlds.deployed_stack import Deployed, free_ports

WITHIN = 120.0
# An attempt may be late on a busy machine: all polls of the engine share one thread. Still, a wait
# of 5 s is never taken for one of 30 s.
LATE = 20.0
NEVER = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
DELIVERY = {
    "id", "webhook_id", "signal_id", "event", "status", "reason", "attempt_count",
    "last_status_code", "next_retry_at", "created_at", "delivered_at", "replay_of",
}  # fmt: skip
ATTEMPT = {
    "number", "started_at", "duration_ms", "status_code", "error", "response", "url",
    "request_headers", "response_headers",
}  # fmt: skip


@dataclass(frozen=True)
class Hook:
    """A webhook and its first secret."""

    id: str
    secret: str
    path: str


@dataclass(frozen=True)
class Sent:
    """One signal and the receivers that it was sent to."""

    tenant: Tenant
    receiver: Receiver
    hooks: dict[str, Hook]
    signal_id: str

    def delivery(self, name: str) -> dict[str, Any]:
        """Read the delivery to one of the webhooks, with its attempts."""
        [listed] = _deliveries(self.tenant, self.hooks[name].id)
        assert set(listed) == DELIVERY
        return _read(self.tenant, listed["id"])

    def ended(self, name: str, status: str) -> dict[str, Any]:
        """Wait for a delivery to have a status."""
        return _until(lambda: self.delivery(name), lambda one: one["status"] == status)


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


@pytest.fixture(scope="module")
def sent(tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Create the webhooks, then emit a signal that matches all of them but one."""
    folder: Path = tmp_path_factory.mktemp("tls")
    with Receiver() as receiver, Receiver(certificate=self_signed(folder)) as untrusted:
        receiver.on("/ok", Answer(200, body=b"thanks"))
        receiver.on("/late", Answer(500), Answer(503), Answer(204))
        receiver.on("/dead", Answer(500, body=b"no"))
        receiver.on("/redirect", Answer(301, {"Location": receiver.url("/trap")}))
        receiver.on("/gone", Answer(410))
        receiver.on("/busy", Answer(429, {"Retry-After": "7"}), Answer(200))
        receiver.on("/huge", Answer(200, size=5_000_000))
        receiver.on("/slow", Answer(200, size=20, trickle_body=0.05))
        receiver.on("/hangs", Hold())
        [closed] = free_ports(1)
        urls = {
            name: receiver.url(f"/{name}")
            for name in ("ok", "late", "dead", "redirect", "gone", "busy", "huge", "slow", "hangs")
        }
        urls["refused"] = f"http://127.0.0.1:{closed}/"
        urls["tls"] = untrusted.url("/")
        # A webhook with the default schedule would still be retried in five minutes.
        schedules = {
            **{key: [1] for key in ("redirect", "refused", "tls", "hangs")},
            "dead": [1, 1, 1],
            "busy": [1, 1],
        }
        hooks = {
            name: _hook(
                tenant, url, filters={"types": ["alert"]}, retry_schedule=schedules.get(name)
            )
            for name, url in urls.items()
        }
        hooks["unwanted"] = _hook(tenant, receiver.url("/no"), filters={"types": ["pulse"]})
        hooks["wanted"] = _hook(
            tenant,
            receiver.url("/yes"),
            filters={"types": ["alert"], "rings": ["inner"], "min_urgency": 0.9},
        )
        emitted = _emit(tenant, urgency=0.9, to_ring="inner", payload={"disk": "sda1", "free": 0.1})
        yield Sent(tenant, receiver, hooks, emitted)
        for hook in hooks.values():
            tenant.call("DELETE", f"/admin/webhooks/{hook.id}")


def test_a_signal_arrives_at_once_and_signed(sent: Sent) -> None:
    [request] = sent.receiver.wait_for(1, path="/ok")

    signal = check_delivery(request, sent.hooks["ok"].secret, event="alert")
    assert (signal["id"], signal["content"]) == (sent.signal_id, "disk almost full")
    assert signal["payload"] == {"disk": "sda1", "free": 0.1}
    delivery = sent.ended("ok", "delivered")
    [attempt] = delivery["attempts"]
    assert set(attempt) == ATTEMPT
    assert (attempt["number"], attempt["status_code"], attempt["response"]) == (1, 200, "thanks")
    assert request.header("webhook-id") == delivery["id"]
    assert attempt["url"] == sent.receiver.url("/ok")
    for name, value in attempt["request_headers"].items():
        assert request.header(name) == value
    assert attempt["response_headers"] == {"content-length": "6"}
    assert _webhook(sent.tenant, sent.hooks["ok"].id)["last_success_at"] is not None


def test_the_deliveries_of_all_webhooks_are_listed_together(sent: Sent) -> None:
    sent.ended("ok", "delivered")
    path = "/admin/webhooks/deliveries?event=alert&limit=100"

    def found(query: str = "") -> set[str]:
        answer = sent.tenant.stack.call("GET", f"{path}{query}", key=sent.tenant.key)
        return {one["id"] for one in answer.json()["data"]}

    one = sent.delivery("ok")["id"]
    assert {one, sent.delivery("wanted")["id"]} < found()
    assert found(f"&webhook={sent.hooks['ok'].id}&status=delivered") == {one}
    assert found("&since=2100-01-01T00:00:00Z") == set()


def test_a_hanging_receiver_times_out_and_delays_no_other(sent: Sent) -> None:
    [arrived] = sent.receiver.wait_for(1, path="/ok")
    hanging, *_ = sent.receiver.wait_for(1, path="/hangs")

    assert abs(arrived.at - hanging.at) < LATE
    timed_out = _until(
        lambda: sent.delivery("hangs"), lambda one: one["attempt_count"] and one["attempts"]
    )["attempts"][0]
    assert (timed_out["status_code"], timed_out["error"]) == (None, "timeout")
    assert 9_900 < timed_out["duration_ms"] < 15_000


@pytest.mark.parametrize("name", ["huge", "slow"])
def test_of_a_huge_or_slow_answer_only_the_first_kib_is_recorded(sent: Sent, name: str) -> None:
    delivery = sent.ended(name, "delivered")

    assert len(delivery["attempts"][0]["response"]) == {"huge": 1_024, "slow": 20}[name]


def test_a_webhook_whose_filters_do_not_match_gets_no_delivery(sent: Sent) -> None:
    sent.ended("wanted", "delivered")
    sent.ended("ok", "delivered")

    assert _deliveries(sent.tenant, sent.hooks["unwanted"].id) == []


def test_a_refused_connection_and_a_bad_certificate_end_as_dead_letters(sent: Sent) -> None:
    for name, error in (("refused", "refused"), ("tls", "tls")):
        delivery = sent.ended(name, "dead_letter")
        assert [one["error"] for one in delivery["attempts"]] == [error] * 2
        assert delivery["reason"] == "exhausted"


def test_redirects_are_not_followed(sent: Sent) -> None:
    delivery = sent.ended("redirect", "dead_letter")

    assert [one["status_code"] for one in delivery["attempts"]] == [301, 301]
    assert sent.receiver.requests("/trap") == []


def test_a_longer_retry_after_delays_the_next_attempt(sent: Sent) -> None:
    first, second = sent.receiver.wait_for(2, path="/busy", timeout=WITHIN)

    assert 6.5 < second.at - first.at < 6.5 + LATE
    assert sent.ended("busy", "delivered")["attempt_count"] == 2


def test_410_disables_the_webhook_and_its_delivery_waits_until_it_is_active(sent: Sent) -> None:
    hook = sent.hooks["gone"]
    webhook = _until(
        lambda: _webhook(sent.tenant, hook.id), lambda one: one["disabled_reason"] is not None
    )
    assert (webhook["active"], webhook["disabled_reason"]) == (False, "gone")
    assert sent.delivery("gone")["status"] == "pending"

    sent.receiver.on("/gone", Answer(200))
    answer = sent.tenant.stack.call(
        "PATCH", f"/admin/webhooks/{hook.id}", key=sent.tenant.key, json={"active": True}
    )

    assert answer.status_code == 200, answer.text
    assert sent.ended("gone", "delivered")["attempt_count"] == 2


def test_a_replay_delivers_a_dead_letter_and_clears_failing(sent: Sent) -> None:
    hook = sent.hooks["dead"]
    delivery = sent.ended("dead", "dead_letter")
    assert [one["number"] for one in delivery["attempts"]] == [1, 2, 3, 4]
    assert [one["response"] for one in delivery["attempts"]] == ["no"] * 4
    assert _webhook(sent.tenant, hook.id)["failing"] is True
    since = {"since": "2020-01-01T00:00:00Z"}
    counted = _post(sent.tenant, f"/admin/webhooks/{hook.id}/recover", since | {"dry_run": True})
    assert counted.json()["data"] == {"count": 1}

    sent.receiver.on("/dead", Answer(200))
    replayed = _post(sent.tenant, f"/admin/webhooks/deliveries/{delivery['id']}/replay")

    assert replayed.status_code == 202, replayed.text
    assert replayed.json()["data"] == {"id": delivery["id"], "status": "pending"}
    delivered = sent.ended("dead", "delivered")
    assert delivered["attempts"][-1]["number"] == 5
    seen = sent.receiver.wait_for(5, path="/dead")
    assert len({one.header("webhook-id") for one in seen}) == 1
    webhook = _webhook(sent.tenant, hook.id)
    assert (webhook["failing"], webhook["failure_count"]) == (False, 0)


def test_a_delivered_signal_is_replayed_as_a_new_delivery(sent: Sent) -> None:
    delivery = sent.ended("ok", "delivered")

    replayed = _post(sent.tenant, f"/admin/webhooks/deliveries/{delivery['id']}/replay")

    new = replayed.json()["data"]["id"]
    assert new != delivery["id"]
    shown = _until(lambda: _read(sent.tenant, new), lambda one: one["status"] == "delivered")
    assert shown["replay_of"] == delivery["id"]
    ids = {one.header("webhook-id") for one in sent.receiver.wait_for(2, path="/ok")}
    assert ids == {delivery["id"], new}


def test_the_first_retries_come_after_5_s_and_30_s(sent: Sent) -> None:
    first, second, third = sent.receiver.wait_for(3, path="/late", timeout=WITHIN)

    assert 4.9 < second.at - first.at < 4.9 + LATE
    assert 29.5 < third.at - second.at < 29.5 + LATE
    assert sent.ended("late", "delivered")["attempt_count"] == 3


def test_deliveries_of_a_paused_webhook_go_out_when_it_is_active(tenant: Tenant) -> None:
    with Receiver() as receiver:
        hook = _hook(tenant, receiver.url("/in"), filters={"types": ["shift"]})
        path = f"/admin/webhooks/{hook.id}"
        tenant.stack.call("PATCH", path, key=tenant.key, json={"active": False})
        emitted = [_emit(tenant, signal_type="shift") for _ in range(3)]
        _until(
            lambda: _deliveries(tenant, hook.id, status="pending"), lambda found: len(found) == 3
        )
        receiver.stays_at(0, 2.0)

        tenant.stack.call("PATCH", path, key=tenant.key, json={"active": True})

        seen = receiver.wait_for(3, timeout=WITHIN)
        assert {check_delivery(one, hook.secret, event="shift")["id"] for one in seen} == set(
            emitted
        )


def test_both_secrets_sign_during_the_grace_of_a_rotation(tenant: Tenant) -> None:
    with Receiver() as receiver:
        hook = _hook(tenant, receiver.url("/in"), filters={"types": ["sense"]})
        rotated = _post(tenant, f"/admin/webhooks/{hook.id}/rotate-secret", {})
        new = rotated.json()["data"]["secret"]
        _emit(tenant, signal_type="sense")

        [request] = receiver.wait_for(1, timeout=WITHIN)
        check_delivery(request, hook.secret, new, event="sense")


def test_a_test_delivery_reaches_its_own_webhook_only(tenant: Tenant) -> None:
    with Receiver() as receiver:
        hook = _hook(
            tenant, receiver.url("/in"), filters={"types": ["query"]}, headers={"X-A": "b"}
        )
        other = _hook(tenant, receiver.url("/other"))

        answer = _post(tenant, f"/admin/webhooks/{hook.id}/test")

        assert answer.status_code == 202, answer.text
        [request] = receiver.wait_for(1, path="/in", timeout=WITHIN)
        assert check_delivery(request, hook.secret, event="ping")["signal_type"] == "ping"
        assert request.header("webhook-id") == answer.json()["data"]["delivery_id"]
        assert request.header("X-A") == "b"
        assert receiver.requests("/other") == []
        # It has no filters: while it exists, it gets the other tests' signals too.
        tenant.call("DELETE", f"/admin/webhooks/{other.id}")


def test_recover_replays_each_dead_letter_since_a_moment(tenant: Tenant) -> None:
    with Receiver() as receiver:
        receiver.on("/in", Answer(500))
        hook = _hook(
            tenant, receiver.url("/in"), filters={"types": ["proposal"]}, retry_schedule=[1]
        )
        for _ in range(3):
            _emit(tenant, signal_type="proposal")
        _until(
            lambda: _deliveries(tenant, hook.id, status="dead_letter"),
            lambda found: len(found) == 3,
        )
        receiver.on("/in", Answer(200))

        answer = _post(
            tenant, f"/admin/webhooks/{hook.id}/recover", {"since": "2020-01-01T00:00:00Z"}
        )

        assert (answer.status_code, answer.json()["data"]) == (202, {"count": 3})
        _until(
            lambda: _deliveries(tenant, hook.id, status="delivered"), lambda found: len(found) == 3
        )


def test_open_deliveries_of_a_deleted_webhook_become_dead_letters(tenant: Tenant) -> None:
    with Receiver() as receiver:
        hook = _hook(tenant, receiver.url("/in"), filters={"types": ["artifact"]})
        path = f"/admin/webhooks/{hook.id}"
        tenant.stack.call("PATCH", path, key=tenant.key, json={"active": False})
        _emit(tenant, signal_type="artifact")
        [waiting] = _until(lambda: _deliveries(tenant, hook.id, status="pending"), bool)

        assert tenant.stack.call("DELETE", path, key=tenant.key).status_code == 200

        ended = _until(
            lambda: _read(tenant, waiting["id"]), lambda one: one["status"] == "dead_letter"
        )
        assert ended["reason"] == "webhook_deleted"
        assert receiver.requests() == []


def test_each_bad_request_about_deliveries_has_its_code(sent: Sent) -> None:
    tenant, hook = sent.tenant, sent.hooks["ok"]
    path = f"/admin/webhooks/{hook.id}/deliveries"
    for query, status, code in (
        ("?status=lost", 400, "VALIDATION_INVALID_VALUE"),
        ("?limit=0", 400, "VALIDATION_INVALID_VALUE"),
        ("?limit=101", 400, "VALIDATION_INVALID_VALUE"),
        ("?after=made-up", 400, "VALIDATION_INVALID_VALUE"),
    ):
        _refused(tenant.stack.call("GET", path + query, key=tenant.key), status, code)
    unknown = f"/admin/webhooks/{NEVER}"
    gone = f"/admin/webhooks/deliveries/{NEVER}"
    for method, where, code in (
        ("GET", f"{unknown}/deliveries", "WEBHOOK_NOT_FOUND"),
        ("POST", f"{unknown}/test", "WEBHOOK_NOT_FOUND"),
        ("GET", gone, "DELIVERY_NOT_FOUND"),
        ("POST", f"{gone}/replay", "DELIVERY_NOT_FOUND"),
    ):
        _refused(tenant.stack.call(method, where, key=tenant.key), 404, code)
    _refused(_post(tenant, f"{unknown}/recover", {}), 400, "VALIDATION_FIELD_REQUIRED")
    stranger = open_tenant(tenant.stack)
    [first, *_] = _deliveries(tenant, hook.id)
    answer = stranger.stack.call(
        "GET", f"/admin/webhooks/deliveries/{first['id']}", key=stranger.key
    )
    _refused(answer, 404, "DELIVERY_NOT_FOUND")
    _refused(stranger.stack.call("GET", path, key=stranger.key), 404, "WEBHOOK_NOT_FOUND")


def _hook(tenant: Tenant, url: str, **fields: Any) -> Hook:
    given = {name: value for name, value in fields.items() if value is not None}
    made = _post(tenant, "/admin/webhooks", {"url": url, **given})
    assert made.status_code == 201, made.text
    data = made.json()["data"]
    return Hook(data["id"], data["secret"], url)


def _emit(tenant: Tenant, **fields: Any) -> str:
    body = {"signal_type": "alert", "content": "disk almost full", **fields}
    made = _post(tenant, "/emit", body)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


def _post(tenant: Tenant, path: str, body: dict[str, Any] | None = None) -> Any:
    more = {} if body is None else {"json": body}
    return tenant.stack.call("POST", path, key=tenant.key, **more)


def _webhook(tenant: Tenant, hook_id: str) -> dict[str, Any]:
    answer = tenant.stack.call("GET", f"/admin/webhooks/{hook_id}", key=tenant.key)
    found: dict[str, Any] = answer.json()["data"]
    return found


def _deliveries(tenant: Tenant, hook_id: str, status: str | None = None) -> list[dict[str, Any]]:
    query = "" if status is None else f"?status={status}"
    path = f"/admin/webhooks/{hook_id}/deliveries{query}"
    found: list[dict[str, Any]] = tenant.stack.call("GET", path, key=tenant.key).json()["data"]
    return found


def _read(tenant: Tenant, delivery_id: str) -> dict[str, Any]:
    answer = tenant.stack.call("GET", f"/admin/webhooks/deliveries/{delivery_id}", key=tenant.key)
    found: dict[str, Any] = answer.json()["data"]
    return found


def _refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def _until(ask: Callable[[], Any], ready: Callable[[Any], Any]) -> Any:
    deadline = time.monotonic() + WITHIN
    while not ready(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found
