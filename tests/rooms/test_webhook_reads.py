"""Attempts that begin together share one read of their webhook."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from gatehouse.core.clock import SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries.webhook_reads import WebhookReads
from gatehouse.webhooks.model import Webhook
from support.aws.faults import Wire, first, no_answer
from support.worlds.deliveries import ACCOUNT, DeliveryWorld


def _find(
    reads: WebhookReads, world: DeliveryWorld, webhook: Webhook, *, again: bool = False
) -> Webhook | None:
    return reads.find(world.table, ACCOUNT, webhook.id, now=world.time, again=again)


def test_a_read_is_used_for_a_quarter_of_a_second(world: DeliveryWorld, room_line: Wire) -> None:
    reads, webhook = WebhookReads(), world.webhook()
    room_line.clear()

    assert _find(reads, world, webhook) == webhook
    world.set_active(webhook, active=False)
    world.time += SECOND // 4
    assert _find(reads, world, webhook) == webhook
    world.time += 1
    paused = _find(reads, world, webhook)

    assert paused is not None
    assert not paused.active
    assert room_line.calls == ["GetItem", "UpdateItem", "GetItem"]


def test_a_read_can_be_asked_for_again_at_once(world: DeliveryWorld) -> None:
    reads, webhook = WebhookReads(), world.webhook()
    _find(reads, world, webhook)
    world.remove(webhook)

    assert _find(reads, world, webhook) == webhook
    assert _find(reads, world, webhook, again=True) is None
    assert _find(reads, world, webhook) is None


def test_ten_threads_share_one_read_of_each_webhook(world: DeliveryWorld, room_line: Wire) -> None:
    reads, webhooks = WebhookReads(), [world.webhook(), world.webhook("https://two.example/in")]
    room_line.clear()

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda one: _find(reads, world, one), webhooks * 5))

    assert found == webhooks * 5
    assert room_line.calls == ["GetItem"] * 2


def test_a_read_that_failed_is_not_kept(world: DeliveryWorld, room_line: Wire) -> None:
    reads, webhook = WebhookReads(), world.webhook()
    room_line.before = first(1, no_answer, "GetItem")

    with pytest.raises(Unavailable):
        _find(reads, world, webhook)

    assert _find(reads, world, webhook) == webhook
