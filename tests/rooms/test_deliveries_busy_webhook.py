"""One webhook that recovers while two hundred successes arrive, on a table with its limits."""

from __future__ import annotations

from collections import Counter

from gatehouse.core.clock import SECOND
from gatehouse.dynamo.table import transact
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import writes as webhook_writes
from support.worlds.under_fire import under_fire


def test_two_hundred_successes_at_once_of_a_failing_webhook_repeat_nothing() -> None:
    with under_fire() as world:
        account = world.account()
        webhook = world.webhook(account, "r.example")
        world.receivers.usual.seconds = 3.0  # so that all of them are recorded together
        failing = webhook_writes.mark_failing(world.table, webhook, now=world.time.now)
        transact(world.table.client, [failing])
        world.start_readers()

        def act() -> None:
            world.emit_steadily([account], rate=400, seconds=0.5)
            world.time.sleep(5)  # all messages are in the queue
            world.start_workers()
            world.time.sleep(400)  # what we failed on comes again after 180 s

        world.time.run(act)
        arrived = Counter(one.id for one in world.receivers.arrivals)
        current = webhooks.find(world.table, account, webhook.id)

    assert len(arrived) == 200
    assert set(arrived.values()) == {1}
    ats = sorted(one.at for one in world.receivers.arrivals)
    assert sum(at - ats[0] < 3 * SECOND for at in ats) >= 180, "while the first ones wait"
    assert current is not None
    assert (current.failing, current.failure_count) == (False, 0)
