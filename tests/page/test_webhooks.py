"""Webhooks in the page, with a real receiver on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from support.actors.browser import Visit
from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Answer
from support.checks.signatures import check_delivery
from support.worlds.deployed_stack import Deployed

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


def created(seen: Visit, url: str) -> str:
    """Create a webhook in the page and open it; return its secret."""
    seen.go("Webhooks")
    seen.button("Create webhook").click()
    seen.field("URL").fill(url)
    seen.button("Create webhook").click()
    secret = seen.secret()
    seen.button("Close").click()
    seen.page.get_by_role("link", name=url).click()
    seen.heading("Webhook").wait_for()
    return secret


def refresh_until(seen: Visit, text: str) -> None:
    """Press Refresh until a text is there."""
    for _ in range(40):
        seen.button("Refresh").click()
        try:
            expect(seen.page.locator("main")).to_contain_text(text, timeout=1_500)
        except AssertionError:
            continue
        return
    expect(seen.page.locator("main")).to_contain_text(text)


def test_a_webhook_is_created_and_tested_and_its_attempt_is_seen(
    visit: Open, tenant: Tenant, receiver: Receiver
) -> None:
    receiver.on("/hook", Answer(202, body=b"taken"))
    seen = visit(tenant.key)
    secret = created(seen, receiver.url())
    seen.button("Send a test").click()
    (received,) = receiver.wait_for(1)
    assert check_delivery(received, secret, event="ping")["signal_type"] == "ping"
    refresh_until(seen, "delivered")
    seen.row("delivered").get_by_role("link").click()
    expect(seen.page.locator(".attempts")).to_contain_text("202")
    expect(seen.page.locator(".attempts")).to_contain_text("taken")


def test_a_dead_letter_is_replayed_and_delivered(
    visit: Open, tenant: Tenant, receiver: Receiver
) -> None:
    receiver.on("/hook", Answer(503), Answer(500), Answer())
    body = {"url": receiver.url(), "retry_schedule": [1], "filters": {"rings": ["replay"]}}
    made = tenant.call("POST", "/admin/webhooks", json=body).json()["data"]
    signal = {"signal_type": "alert", "content": "once", "to_ring": "replay"}
    assert tenant.call("POST", "/emit", json=signal).status_code == 201
    receiver.wait_for(2)
    seen = visit(tenant.key)
    seen.open(f"webhooks/{made['id'].removeprefix('webhook:')}")
    seen.heading("Webhook").wait_for()
    refresh_until(seen, "dead letter")
    expect(seen.page.locator("main")).to_contain_text("failing")
    seen.row("dead letter").get_by_role("link").click()
    expect(seen.page.locator(".attempts > li")).to_have_count(2)
    seen.button("Replay").click()
    receiver.wait_for(3)
    refresh_until(seen, "delivered")


def test_dead_letters_are_counted_and_then_recovered(
    visit: Open, tenant: Tenant, receiver: Receiver
) -> None:
    receiver.on("/hook", *[Answer(500)] * 4, Answer())
    body = {"url": receiver.url(), "retry_schedule": [1], "filters": {"rings": ["recover"]}}
    made = tenant.call("POST", "/admin/webhooks", json=body).json()["data"]
    signal = {"signal_type": "alert", "content": "lost", "to_ring": "recover"}
    for _ in range(2):
        assert tenant.call("POST", "/emit", json=signal).status_code == 201
    receiver.wait_for(4)
    seen = visit(tenant.key)
    seen.open(f"webhooks/{made['id'].removeprefix('webhook:')}?status=dead_letter")
    for _ in range(40):
        seen.button("Refresh").click()
        if seen.row("dead letter").count() == 2:
            break
        seen.page.wait_for_timeout(500)
    seen.button("Recover dead letters").click()
    seen.button("Count them").click()
    expect(seen.page.get_by_role("dialog")).to_contain_text("2 dead letters since then")
    receiver.stays_at(4, 1)
    seen.button("Send 2 again").click()
    receiver.wait_for(6)


def test_in_the_grace_of_a_rotation_both_secrets_sign(
    visit: Open, tenant: Tenant, receiver: Receiver
) -> None:
    seen = visit(tenant.key)
    old = created(seen, receiver.url("/rotated"))
    seen.button("Rotate the secret").click()
    seen.button("Rotate").click()
    new = seen.secret()
    seen.button("Close").click()
    seen.button("Send a test").click()
    (received,) = receiver.wait_for(1)
    check_delivery(received, old, new)


def test_a_paused_webhook_waits_and_a_deleted_one_is_gone(
    visit: Open, tenant: Tenant, receiver: Receiver
) -> None:
    seen = visit(tenant.key)
    created(seen, receiver.url("/paused"))
    seen.button("Pause").click()
    expect(seen.page.locator(".card")).to_contain_text("paused")
    seen.button("Send a test").click()
    receiver.stays_at(0, 2)
    seen.button("Make active").click()
    receiver.wait_for(1)
    seen.button("Delete").click()
    host = receiver.url().split("/")[2]
    seen.field(f"Type {host} to confirm").fill(host)
    seen.button("Delete").click()
    seen.heading("Webhooks").wait_for()
    expect(seen.page.get_by_role("link", name=receiver.url("/paused"))).to_have_count(0)
