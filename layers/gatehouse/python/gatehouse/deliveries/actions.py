"""Deliveries for admins: lists and shows them, replays, recovers, and sends pings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import Conflict, Gone, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.core.retry import Backoff
from gatehouse.deliveries import messages, rules, store
from gatehouse.deliveries import writes as delivery_writes
from gatehouse.deliveries.messages import DeliveryMessage, DeliveryQueues
from gatehouse.deliveries.model import (
    PING,
    Attempt,
    Delivery,
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.signals import actions as signals
from gatehouse.signals import writes as signal_writes
from gatehouse.webhooks import actions as webhooks

MOST_ATTEMPTS = 100

# The states in the listing index that a status consists of.
_STATES = {
    DeliveryStatus.PENDING: (DeliveryStatus.PENDING.value, store.PARKED),
    DeliveryStatus.RETRYING: (DeliveryStatus.RETRYING.value,),
    DeliveryStatus.DELIVERED: (DeliveryStatus.DELIVERED.value,),
    DeliveryStatus.DEAD_LETTER: (DeliveryStatus.DEAD_LETTER.value,),
}
_COUNTED_AT_ONCE = 1_000
_DELIVERY_CHANGED = Backoff(3)


def page(
    table: Table,
    call: Call,
    webhook_id: str,
    *,
    status: DeliveryStatus | None,
    limit: int,
    after: str | None,
) -> tuple[list[Delivery], str | None]:
    """List a webhook's deliveries, newest first, and the cursor: a bare id, None at the end."""
    webhook = webhooks.get(table, call.caller.account_id, webhook_id)
    statuses = [status] if status else [*DeliveryStatus]
    highest = None if after is None else _below(after)
    ids_: set[str] = set()
    for state in (state for one in statuses for state in _STATES[one]):
        ids_ |= set(store.list_ids(table, webhook.id, state, high=highest, limit=limit + 1))
    newest_first = sorted(ids_, reverse=True)
    # The index is a moment behind the table: a delivery may have another status by now.
    deliveries = [
        one
        for one in store.list_by_ids(table, newest_first[:limit])
        if status is None or one.status is status
    ]
    return deliveries, newest_first[limit - 1] if len(newest_first) > limit else None


def get(table: Table, call: Call, delivery_id: str) -> tuple[Delivery, list[Attempt]]:
    """Read a delivery and its last hundred attempts, oldest first. Raises NotFound."""
    delivery = _get(table, call, delivery_id)
    attempts = store.list_attempts(table, delivery.id, limit=MOST_ATTEMPTS)
    # The attempts are read after the delivery, so one of them may be newer than it.
    return delivery, [one for one in attempts if one.number <= delivery.attempt_count]


def replay(
    table: Table,
    call: Call,
    queue: DeliveryQueues,
    *,
    delivery_id: str,
    answered: Callable[[Delivery], Answered],
) -> Answered:
    """Send a dead letter again; send a delivered one as a new delivery.

    A new delivery has a new id, so that receivers do not drop it as a repeat. Raises GrantsExceeded
    if its webhook reaches further than the caller, Conflict DELIVERY_OPEN while the delivery is
    open, unless it is parked as internal, and Gone SIGNAL_EXPIRED if the signal's retention has
    ended.
    """
    for _ in _DELIVERY_CHANGED.tries():
        before = _get(table, call, delivery_id)
        webhooks.check_reach(
            webhooks.get(table, call.caller.account_id, before.webhook_id), call.caller
        )
        # After the check: this key may be narrower than the one that was used first.
        idempotency.check(table, call.guard)
        if before.is_open and before.parked is not ParkReason.INTERNAL:
            raise Conflict("The delivery is still open", code="DELIVERY_OPEN")
        signal = signals.find(table, before.account_id, before.signal_id, now=call.now)
        if signal is None:
            raise Gone("The signal is past its retention", code="SIGNAL_EXPIRED")
        if before.status is DeliveryStatus.DELIVERED:
            after = rules.new_delivery(
                id=ids.new(call.now),
                account_id=before.account_id,
                webhook_id=before.webhook_id,
                signal_id=before.signal_id,
                event=before.event,
                signal_ends_at=signal.expires_at,
                now=call.now,
                replay_of=before.id,
            )
            write = store.create(table, after)
        else:
            after = rules.next_round(before, call.now)
            write = store.replace(table, after, seen=before)
        change = Change(
            "delivery.replay",
            f"delivery:{after.id}",
            before=rules.audit_view(before),
            after=rules.audit_view(after),
        )
        answer = answered(after)
        try:
            _commit(
                table,
                call,
                {"delivery": write},
                change=change,
                made=f"delivery:{after.id}",
                answer=answer,
            )
        except audit.Refused:
            continue
        _send(queue, messages.for_attempt(after, call.now))
        return answer
    raise Unavailable


def count_dead_letters(table: Table, call: Call, webhook_id: str, *, since: Micros) -> int:
    """Count the dead letters that a recovery would replay: of signals emitted since a time."""
    webhook = webhooks.get(table, call.caller.account_id, webhook_id)
    low, counted = rules.lowest_id(since), 0
    while True:
        ids_ = store.list_ids(
            table,
            webhook.id,
            DeliveryStatus.DEAD_LETTER.value,
            low=low,
            newest_first=False,
            limit=_COUNTED_AT_ONCE,
        )
        counted += sum(
            rules.can_recover(one, asked_at=call.now, now=call.now)
            for one in store.list_by_ids(table, ids_)
        )
        if len(ids_) < _COUNTED_AT_ONCE:
            return counted
        low = _above(ids_[-1])


def recover(
    table: Table,
    call: Call,
    queue: DeliveryQueues,
    *,
    webhook_id: str,
    since: Micros,
    answered: Callable[[int], Answered],
) -> Answered:
    """Let a worker replay all dead letters of signals emitted since a time: there may be many.

    `answered` gets their number and returns the response. Raises GrantsExceeded if the webhook
    reaches further than the caller.
    """
    webhooks.check_reach(webhooks.get(table, call.caller.account_id, webhook_id), call.caller)
    idempotency.check(table, call.guard)
    counted = count_dead_letters(table, call, webhook_id, since=since)
    change = Change(
        "webhook.recover",
        f"webhook:{webhook_id}",
        after={"since": rfc3339(since), "count": counted},
    )
    answer = answered(counted)
    message = RecoverMessage(call.caller.account_id, webhook_id, rules.lowest_id(since), call.now)
    # The marker guarantees the work: after a 202 the client does not retry.
    writes = {"marker": store.put_marker(table, message, now=call.now)}
    _commit(table, call, writes, change=change, made=f"webhook:{webhook_id}", answer=answer)
    _send(queue, messages.for_webhook(message))
    return answer


def ping(
    table: Table,
    call: Call,
    queue: DeliveryQueues,
    *,
    webhook_id: str,
    answered: Callable[[Delivery], Answered],
) -> Answered:
    """Send a `ping` to a webhook: store a signal that no filter matches, and its delivery.

    Raises GrantsExceeded if the webhook reaches further than the caller.
    """
    webhook = webhooks.get(table, call.caller.account_id, webhook_id)
    webhooks.check_reach(webhook, call.caller)
    idempotency.check(table, call.guard)
    signal = signals.ping(call.caller.account_id, now=call.now)
    delivery = rules.new_delivery(
        id=rules.id_of(signal.id, webhook.id),
        account_id=webhook.account_id,
        webhook_id=webhook.id,
        signal_id=signal.id,
        event=PING,
        signal_ends_at=signal.expires_at,
        now=call.now,
    )
    writes = {
        "signal": signal_writes.create(table, signal),
        "delivery": store.create(table, delivery),
    }
    change = Change(
        "webhook.test", f"webhook:{webhook.id}", after={"delivery_id": f"delivery:{delivery.id}"}
    )
    answer = answered(delivery)
    _commit(table, call, writes, change=change, made=f"delivery:{delivery.id}", answer=answer)
    _send(queue, messages.for_attempt(delivery, call.now))
    return answer


def unpark_marker(table: Table, call: Call, webhook_id: str) -> dict[str, Write]:
    """Return the marker's write, for the transaction that activates or deletes a webhook."""
    return delivery_writes.unpark_marker(table, call.caller.account_id, webhook_id, now=call.now)


def send_unpark(queue: DeliveryQueues, call: Call, webhook_id: str) -> None:
    """Ask a worker to send a webhook's parked deliveries now, before the sweeper does."""
    _send(queue, messages.for_webhook(UnparkMessage(call.caller.account_id, webhook_id)))


def _send(queue: DeliveryQueues, message: DeliveryMessage) -> None:
    """Send a message for work that is already written.

    Ignores an unavailable queue: the sweeper finds the work by the due index or the marker. An
    error would tell the caller that nothing was done.
    """
    with contextlib.suppress(Unavailable):
        queue.send([message])


def _commit(
    table: Table,
    call: Call,
    writes: Mapping[str, Write],
    *,
    change: Change,
    made: str,
    answer: Answered,
) -> None:
    audit.commit(
        table,
        call.caller.account_id,
        writes=writes,
        changes=[change],
        origin=Origin.of(call),
        now=call.now,
        claim=audit.Claim(call.guard, made, answer) if call.guard else None,
    )


def _get(table: Table, call: Call, delivery_id: str) -> Delivery:
    delivery = store.find(table, delivery_id)
    if delivery is None or delivery.account_id != call.caller.account_id:
        raise NotFound("Delivery not found", code="DELIVERY_NOT_FOUND")
    return delivery


def _below(delivery_id: str) -> str:
    # A query on an index includes both ends. No id lies between this text and the id.
    return f"{delivery_id[:-1]}{chr(ord(delivery_id[-1]) - 1)}~"


def _above(delivery_id: str) -> str:
    return f"{delivery_id}~"
