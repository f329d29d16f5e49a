"""Random requests of the rooms' own stores, from one seed: the double and moto answer alike.

The mirror compares answers, errors, the item that a failed condition shows, and at the end of
each test every item of both tables.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from conformance.mirror import Mirror
from gatehouse.core import ids
from gatehouse.core.clock import DAY, SECOND
from gatehouse.deliveries import attempt_store, marker_store, rules, store, sweep_rules
from gatehouse.deliveries import listing_store as listing
from gatehouse.deliveries.marker_store import Marker
from gatehouse.deliveries.model import Attempt, Delivery, Outcome, ParkReason, UnparkMessage
from gatehouse.dynamo import counters
from gatehouse.dynamo.table import (
    ConditionFailed,
    Table,
    Tables,
    TransactionCanceled,
    Write,
    transact,
)
from gatehouse.signals import store as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import store as webhooks
from gatehouse.webhooks.model import Webhook
from support.worlds.deliveries import ACCOUNT, START

Op = Callable[[Table], Any]


class Chooser:
    """Makes requests about few things, so that they meet each other."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seed that can be told
        self.now = START
        self.webhooks = [Webhook(ids.new(START), ACCOUNT, "https://a.example", START)] * 2
        self.webhooks[1] = replace(self.webhooks[0], id=ids.new(START + 1_000), active=False)
        self.signals = [
            Signal(ids.new(START + n), ACCOUNT, "alert", "hot", "identity:x", START, START + DAY)
            for n in range(3)
        ]
        self.deliveries = [
            rules.new_delivery(
                id=rules.id_of(signal.id, webhook.id),
                account_id=ACCOUNT,
                webhook_id=webhook.id,
                signal_id=signal.id,
                event="alert",
                signal_ends_at=START + DAY,
                now=START,
            )
            for signal in self.signals
            for webhook in self.webhooks
        ]

    def op(self) -> Op:
        """Make a request."""
        self.now += self.rng.randrange(20 * SECOND)
        write, other = self._write(), self._write()
        seen = self._seen()
        webhook, signal = self.rng.choice(self.webhooks), self.rng.choice(self.signals)
        now, limit, state = self.now, self.rng.randint(1, 4), self.rng.choice(STATES)
        low, high = sorted(self.rng.choice(self.deliveries).id for _ in range(2))
        flip, every = self.rng.random() < 0.5, [one.id for one in self.deliveries]
        shard, unpark = self.rng.randrange(32), UnparkMessage(ACCOUNT, webhook.id)
        attempt = Attempt(self.rng.randint(1, 3), now, 5, self.rng.choice((200, None)), None, "x")
        choices: list[Op] = [
            lambda t: store.insert(t, seen),
            lambda t: store.claim(t, seen.id, attempt=seen.next_attempt, now=now),
            lambda t: store.find(t, seen.id),
            lambda t: store.list_by_ids(t, every),
            lambda t: store.record(t, replace(seen, last=attempt), seen=seen),
            lambda t: attempt_store.move_out(t, replace(seen, last=attempt)),
            lambda t: attempt_store.list_all(t, replace(seen, last=attempt), limit=limit),
            lambda t: store.list_due(t, rules.shard_of(seen.id), now=now, limit=limit),
            lambda t: listing.list_ids(t, webhook.id, state, limit=limit, newest_first=flip),
            lambda t: listing.list_ids(
                t, webhook.id, state, low=low, limit=limit, newest_first=flip
            ),
            lambda t: listing.list_ids(t, webhook.id, state, high=high, limit=limit),
            lambda t: listing.list_ids(t, webhook.id, state, low=low, high=high, limit=limit),
            marker_store.list_all,
            lambda t: marker_store.postpone(t, unpark, until=now),
            lambda t: marker_store.delete(t, Marker(unpark, START, now)),
            lambda t: listing.count(t, webhook.id, state, low=low),
            lambda t: list(listing.newest_first(t, [webhook.id], below=high, limit=limit)),
            lambda t: list(t.query_all(f"WEBHOOK#{ACCOUNT}")),
            lambda t: signals.insert(t, signal),
            lambda t: signals.find(t, ACCOUNT, signal.id),
            lambda t: signals.mark_fanned_out(t, signal.id),
            lambda t: signals.list_overdue(t, shard, before=now, limit=limit),
            lambda t: list(signals.newest_first(t, ACCOUNT, before=None, limit=limit)),
            lambda t: webhooks.find(t, ACCOUNT, webhook.id),
            lambda t: webhooks.record_failure(t, webhook, now=now),
            lambda t: webhooks.record_success(t, webhook, now=now, unless_since=now - 60 * SECOND),
            lambda t: t.get({"pk": "T#COUNT", "sk": "COUNT"}),
        ]
        # Half of all are transactions.
        if self.rng.random() < 0.5:
            alone = self.rng.random() < 0.6
            return lambda t: transact(
                t.client,
                [write[1](t)]
                if alone or write[0] == other[0]
                else [one[1](t) for one in (write, other)],
            )
        return self.rng.choice(choices)

    def _seen(self) -> Delivery:
        """Give a delivery as somebody might have seen it, rightly or not."""
        kept = self.rng.randrange(len(self.deliveries))
        one = self.deliveries[kept]
        if self.rng.random() < 0.3:
            outcome = Outcome(self.rng.choice((200, 500, 410)))
            step = rules.next_action(one.step, outcome, schedule=(5, 30, 1_200), now=self.now)
            self.deliveries[kept] = rules.after_attempt(one, outcome, action=step, now=self.now)
        return one

    def _write(self) -> tuple[str, Callable[[Table], Write]]:
        """Make a write, and name the item that it is about."""
        seen, now = self._seen(), self.now
        after = self.rng.choice(
            (
                rules.parked(seen, ParkReason.PAUSED),
                rules.next_round(seen, now),
                rules.unparked(seen, now),
                sweep_rules.after_sweep(seen, now, backlog=False),
                rules.after_attempt(
                    seen,
                    Outcome(500),
                    action=rules.next_action(0, Outcome(500), schedule=(5,), now=now),
                    now=now,
                ),
            )
        )
        webhook = self.rng.choice(self.webhooks)
        newer = replace(webhook, version=self.rng.randint(1, 3), active=self.rng.random() < 0.5)
        by, most = self.rng.choice((1, -1)), self.rng.randint(1, 3)
        keyed = f"webhook {webhook.id}"
        due = replace(seen, due_at=seen.due_at or 1)
        return self.rng.choice(
            (
                (seen.id, lambda t: store.create(t, seen)),
                (seen.id, lambda t: store.replace(t, after, seen=seen)),
                (seen.id, lambda t: store.replace_swept(t, after, seen=due)),
                (
                    "mark",
                    lambda t: marker_store.put(t, UnparkMessage(ACCOUNT, webhook.id), now=START),
                ),
                (keyed, lambda t: webhooks.create(t, webhook)["webhook"]),
                (keyed, lambda t: webhooks.replace(t, newer, seen=webhook)),
                (keyed, lambda t: webhooks.remove(t, newer)["webhook"]),
                (keyed, lambda t: webhooks.check_unchanged(t, newer)),
                (keyed, lambda t: webhooks.mark_failing(t, webhook, now=now)),
                ("tally", lambda t: counters.move(t, "T", by=by, most=most)),
                ("tally", lambda t: counters.leave_one(t, "T")),
                (
                    "tally",
                    lambda t: t.add({"pk": "T#COUNT", "sk": "COUNT"}, {"n": by}, also={"m": 1}),
                ),
                ("tally", lambda t: t.delete({"pk": "T#COUNT", "sk": "COUNT"})),
            )
        )


STATES = ("retrying", "dead_letter", rules.PARKED)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
def test_the_same_requests_get_the_same_answers(tables: Tables, dynamo: Mirror, seed: int) -> None:
    chooser, before = Chooser(seed), len(dynamo.answers)
    for _ in range(300):
        with suppress(ConditionFailed, TransactionCanceled):
            chooser.op()(tables.main)
    answers = set(dynamo.answers[before:])
    assert answers >= {
        *("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "TransactWriteItems"),
        "UpdateItem ConditionalCheckFailedException",
        "TransactWriteItems TransactionCanceledException",
    }
