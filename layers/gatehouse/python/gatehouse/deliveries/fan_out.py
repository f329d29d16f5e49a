"""Fan-out: creates one delivery for each webhook that matches a signal, and sends its message.

The last step marks the signal's fan-out as finished. If the process dies before, the stream or the
sweeper repeats the fan-out; ids are derived, so it finds the deliveries that exist already.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import messages, rules, store
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import Delivery, FanOutMessage
from gatehouse.dynamo.table import Table, TransactionConflict
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

_T = TypeVar("_T")
_R = TypeVar("_R")
_THREADS = 25  # all of them wait for the table, so that one CPU serves them
_FEW = 3  # items for which threads would cost more than they save


@dataclass(frozen=True, slots=True)
class FannedOut:
    """What the fan-out of a batch of signals led to, by signal id.

    `deliveries` counts those of each signal that was fanned out. `errors` has the others'; those in
    `left` have no message to a worker either, because the queue is unavailable.
    """

    deliveries: Mapping[str, int]
    errors: Mapping[str, Exception]
    left: frozenset[str] = frozenset()


def fan_out_records(
    table: Table,
    queue: DeliveryQueues,
    batch: Sequence[Signal],
    *,
    embedding: Queue | None,
    now: Micros,
) -> FannedOut:
    """Fan out the signals of stream records. A worker is asked to repeat what failed.

    The stream therefore never waits for one signal. Never raises.
    """
    done = fan_out_all(table, queue, batch, embedding=embedding, now=now)
    failed = [signal for signal in batch if signal.id in done.errors]
    try:
        queue.send([messages.for_fan_out(FanOutMessage(one.account_id, one.id)) for one in failed])
    except Unavailable:
        return FannedOut(done.deliveries, done.errors, frozenset(done.errors))
    return done


def fan_out_stored(
    table: Table,
    queue: DeliveryQueues,
    message: FanOutMessage,
    *,
    embedding: Queue | None,
    now: Micros,
) -> int:
    """Fan out a stored signal, unless it was; return how many deliveries it has.

    Raises Unavailable.
    """
    signal = signals.find_not_fanned_out(table, message.account_id, message.signal_id, now=now)
    if signal is None:
        return 0
    return fan_out(table, queue, signal, embedding=embedding, now=now)


def fan_out(
    table: Table, queue: DeliveryQueues, signal: Signal, *, embedding: Queue | None, now: Micros
) -> int:
    """Create and send a signal's deliveries; return how many there are. May be repeated.

    Raises Unavailable.
    """
    done = fan_out_all(table, queue, [signal], embedding=embedding, now=now)
    for error in done.errors.values():
        raise error
    return done.deliveries[signal.id]


def fan_out_all(
    table: Table,
    queue: DeliveryQueues,
    batch: Sequence[Signal],
    *,
    embedding: Queue | None,
    now: Micros,
) -> FannedOut:
    """Create the deliveries of all signals side by side, and send their messages at once.

    May be repeated. An error concerns its signal alone; one of the queue concerns all. `embedding`:
    the queue of the owner's own worker, which receives the ids of new signals.
    """
    errors: dict[str, Exception] = {}
    wanted, slow = _list_wanted(table, batch, errors, now=now)
    created = _each(lambda one: store.insert(table, one), wanted)
    stored: list[Delivery] = []
    for delivery, result in zip(wanted, created, strict=True):
        if isinstance(result, Exception):
            errors.setdefault(delivery.signal_id, result)
        else:
            stored.append(result)
    ready = [signal for signal in batch if signal.id not in errors]
    try:
        _send(queue, [one for one in stored if one.signal_id not in errors], slow, now=now)
        if embedding is not None:
            embedding.send([_embedding(signal) for signal in ready])
    except Unavailable as error:
        return FannedOut({}, errors | dict.fromkeys((one.id for one in ready), error))
    for signal, marked in zip(ready, _each(lambda one: _mark(table, one), ready), strict=True):
        if isinstance(marked, Exception):
            errors[signal.id] = marked
    counts = {one.id: 0 for one in ready if one.id not in errors}
    for delivery in stored:
        if delivery.signal_id in counts:
            counts[delivery.signal_id] += 1
    return FannedOut(counts, errors)


def _list_wanted(
    table: Table, batch: Sequence[Signal], errors: dict[str, Exception], *, now: Micros
) -> tuple[list[Delivery], set[str]]:
    """Return the deliveries that the signals must have, and the ids of slow webhooks.

    Each account's webhooks are read once.
    """
    accounts = list(dict.fromkeys(signal.account_id for signal in batch))
    listed = _each(lambda one: webhooks.list_all(table, one), accounts)
    by_account = dict(zip(accounts, listed, strict=True))
    slow = {
        webhook.id
        for found in listed
        if not isinstance(found, Exception)
        for webhook in found
        if webhook.slowness.slow
    }
    wanted: list[Delivery] = []
    for signal in batch:
        found = by_account[signal.account_id]
        if isinstance(found, Exception):
            errors[signal.id] = found
            continue
        deliveries = _caught(partial(_deliveries, found, now), signal)
        if isinstance(deliveries, Exception):
            errors[signal.id] = deliveries
        else:
            wanted += deliveries
    return wanted, slow


def _deliveries(listed: Sequence[Webhook], now: Micros, signal: Signal) -> list[Delivery]:
    # Inactive webhooks too: their deliveries are parked.
    return [_delivery(signal, one, now) for one in listed if webhooks.matches(one, signal)]


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


def _send(
    queue: DeliveryQueues, deliveries: Sequence[Delivery], slow: Container[str], *, now: Micros
) -> None:
    # In a repeat, some may have been attempted or parked; they need no message.
    unattempted = [
        one for one in deliveries if one.is_open and one.attempt_count == 0 and not one.parked
    ]
    queue.send([messages.for_attempt(one, now, slow=one.webhook_id in slow) for one in unattempted])


def _embedding(signal: Signal) -> Outgoing:
    return Outgoing(f'{{"signal_id":"signal:{signal.id}"}}', signal.account_id)


def _mark(table: Table, signal: Signal) -> None:
    try:
        signals.mark_fanned_out(table, signal)
    except TransactionConflict as conflict:
        raise Unavailable from conflict


def _each(act: Callable[[_T], _R], items: Sequence[_T]) -> list[_R | Exception]:
    """Do the same for each item, side by side; return the results, or the errors in their place."""
    if len(items) <= _FEW:
        return [_caught(act, item) for item in items]
    with ThreadPoolExecutor(min(_THREADS, len(items))) as pool:
        return list(pool.map(partial(_caught, act), items))


def _caught(act: Callable[[_T], _R], item: _T) -> _R | Exception:
    try:
        return act(item)
    except Exception as error:  # noqa: BLE001 - a bug in one must not hold up the others
        return error
