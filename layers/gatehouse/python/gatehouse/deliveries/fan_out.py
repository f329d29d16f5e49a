"""Fan-out: creates one delivery for each webhook that matches a signal, and sends its message.

The last step marks the signal's fan-out as finished. If the process dies before, the stream or the
sweeper repeats the fan-out; ids are derived, so it finds the deliveries that exist already.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import messages, rules, store
from gatehouse.deliveries.model import Delivery
from gatehouse.dynamo.table import Table, TransactionConflict
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

_THREADS = 8
_FEW = 3  # deliveries for which threads would cost more than they save


class WebhookCache:
    """The webhooks of each account, read once for a batch of signals."""

    def __init__(self, table: Table) -> None:
        """Start empty."""
        self._table = table
        self._by_account: dict[str, list[Webhook]] = {}

    def list_matching(self, signal: Signal) -> list[Webhook]:
        """List the webhooks that match a signal, inactive ones too."""
        if signal.account_id not in self._by_account:
            self._by_account[signal.account_id] = webhooks.list_all(self._table, signal.account_id)
        return [one for one in self._by_account[signal.account_id] if webhooks.matches(one, signal)]


def fan_out(
    table: Table,
    queue: Queue,
    signal: Signal,
    *,
    webhook_cache: WebhookCache,
    embedding: Queue | None,
    now: Micros,
) -> int:
    """Create and send a signal's deliveries; return how many there are. May be repeated.

    `embedding`: the queue of the owner's own worker, which receives the ids of new signals.
    """
    wanted = [_delivery(signal, one, now) for one in webhook_cache.list_matching(signal)]
    deliveries = _insert(table, wanted)
    # In a repeat, some may have been attempted or parked; they need no message.
    unattempted = [
        one for one in deliveries if one.is_open and one.attempt_count == 0 and not one.parked
    ]
    queue.send([messages.for_attempt(one, now) for one in unattempted])
    if embedding is not None:
        embedding.send([Outgoing(f'{{"signal_id":"signal:{signal.id}"}}', signal.account_id)])
    try:
        signals.mark_fanned_out(table, signal)
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return len(deliveries)


def _delivery(signal: Signal, webhook: Webhook, now: Micros) -> Delivery:
    return rules.new_delivery(
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
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(insert, wanted))
