"""From a signal to its deliveries: one for each webhook that matches, and a message for each.

The mark that a signal is still to fan out is taken away last, so whatever dies on the way is done
again, by the stream or by the sweeper, and finds what it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.messages import go
from gatehouse.deliveries.model import Delivery
from gatehouse.dynamo.table import Table, TransactionConflict
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

_AT_ONCE = 8
_FEW = 3


class Audience:
    """The webhooks of the accounts that a batch is about, each account's read once."""

    def __init__(self, table: Table) -> None:
        """Know nobody yet."""
        self._table = table
        self._known: dict[str, list[Webhook]] = {}

    def of(self, signal: Signal) -> list[Webhook]:
        """Give those that a signal matches, paused ones too."""
        if signal.account_id not in self._known:
            self._known[signal.account_id] = webhooks.all_of(self._table, signal.account_id)
        return [
            webhook
            for webhook in self._known[signal.account_id]
            if webhooks.matches(
                webhook, type=signal.type, to_ring=signal.to_ring, urgency=signal.urgency
            )
        ]


def fan_out(
    table: Table,
    queue: Queue,
    signal: Signal,
    *,
    audience: Audience,
    embedding: Queue | None,
    now: Micros,
) -> int:
    """Make and send a signal's deliveries; gives how many. May be done again.

    `embedding`: the queue of the owner's own worker, that gets the ids of new signals.
    """
    wanted = [_delivery(signal, webhook, now) for webhook in audience.of(signal)]
    made = _insert(table, wanted)
    # One that got further already needs no message.
    fresh = [one for one in made if one.is_open and one.attempt_count == 0 and not one.parked]
    queue.send([go(one, now) for one in fresh])
    if embedding is not None:
        embedding.send([Outgoing(f'{{"signal_id":"signal:{signal.id}"}}', signal.account_id)])
    try:
        signals.fanned_out(table, signal)
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return len(made)


def _delivery(signal: Signal, webhook: Webhook, now: Micros) -> Delivery:
    return rules.made(
        id=rules.id_of(signal.id, webhook.id),
        account_id=signal.account_id,
        webhook_id=webhook.id,
        signal_id=signal.id,
        event=signal.type,
        signal_ends_at=signal.expires_at,
        now=now,
    )


def _insert(table: Table, wanted: Sequence[Delivery]) -> list[Delivery]:
    insert = partial(store.insert, table)
    if len(wanted) <= _FEW:
        return [insert(one) for one in wanted]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(insert, wanted))
