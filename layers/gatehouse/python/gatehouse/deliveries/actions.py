"""Deliveries for admins: lists and shows them, replays, recovers, and sends pings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids, settings
from gatehouse.core.clock import DAY, Micros, rfc3339
from gatehouse.core.errors import Conflict, Gone, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.core.retry import Backoff
from gatehouse.deliveries import (
    attempt_store,
    listing,
    listing_store,
    marker_store,
    messages,
    rules,
    store,
)
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
    """List a webhook's deliveries, as `listing.page` does. Raises NotFound."""
    webhook = webhooks.get(table, call.caller.account_id, webhook_id)
    return listing.page(table, [webhook.id], status=status, limit=limit, after=after)


def page_of_all(
    table: Table,
    call: Call,
    *,
    webhook_id: str | None,
    status: DeliveryStatus | None,
    event: str | None,
    since: Micros,
    limit: int,
    after: str | None,
) -> tuple[list[Delivery], str | None]:
    """List the deliveries of one or all webhooks of the account, as `listing.page` does.

    Raises NotFound if `webhook_id` is not one of them.
    """
    account_id = call.caller.account_id
    chosen = (
        webhooks.list_all(table, account_id)
        if webhook_id is None
        else [webhooks.get(table, account_id, webhook_id)]
    )
    return listing.page(
        table,
        [webhook.id for webhook in chosen],
        status=status,
        event=event,
        since=since,
        limit=limit,
        after=after,
    )


def get(table: Table, call: Call, delivery_id: str) -> tuple[Delivery, list[Attempt]]:
    """Read a delivery and its last hundred attempts, oldest first. Raises NotFound."""
    delivery = _get(table, call, delivery_id)
    return delivery, attempt_store.list_all(table, delivery, limit=MOST_ATTEMPTS)


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
    conflict: audit.Refused | None = None
    for _ in _DELIVERY_CHANGED.tries():
        before = _get(table, call, delivery_id)
        webhook = webhooks.get(table, call.caller.account_id, before.webhook_id)
        webhooks.check_reach(webhook, call.caller)
        # After the check: this key may be narrower than the one that was used first.
        idempotency.check(table, call.guard)
        if before.is_open and before.parked is not ParkReason.INTERNAL:
            raise Conflict("The delivery is still open", code="DELIVERY_OPEN")
        signal = signals.find(table, before.account_id, before.signal_id, now=call.now)
        if signal is None:
            raise Gone("The signal is past its retention", code="SIGNAL_EXPIRED")
        after, write = _sent_again(table, before, signal_ends_at=signal.expires_at, now=call.now)
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
        except audit.Refused as refused:
            conflict = refused
            continue
        _send(queue, messages.for_attempt(after, call.now, slow=webhook.slowness.slow))
        return answer
    raise Unavailable from conflict


def _sent_again(
    table: Table, before: Delivery, *, signal_ends_at: Micros, now: Micros
) -> tuple[Delivery, Write]:
    """Return what a replay writes: a delivered delivery as a new one, another in its next round."""
    if before.status is not DeliveryStatus.DELIVERED:
        after = rules.next_round(before, now)
        return after, store.replace(table, after, seen=before)
    after = rules.new_delivery(
        id=rules.id_of(ids.new(now), before.webhook_id),
        account_id=before.account_id,
        webhook_id=before.webhook_id,
        signal_id=before.signal_id,
        event=before.event,
        signal_ends_at=signal_ends_at,
        now=now,
        replay_of=before.id,
    )
    return after, store.create(table, after)


def count_dead_letters(table: Table, call: Call, webhook_id: str, *, since: Micros) -> int:
    """Count the dead letters that a recovery would replay: of signals emitted since a time.

    Those that were given up or replayed a moment ago may be counted as they were before.
    """
    webhook = webhooks.get(table, call.caller.account_id, webhook_id)
    kept_since = call.now - settings.SIGNAL_DAYS.number() * DAY
    return listing_store.count(
        table,
        webhook.id,
        DeliveryStatus.DEAD_LETTER.value,
        low=rules.lowest_id(max(since, kept_since)),
    )


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
    writes = {"marker": marker_store.put(table, message, now=call.now)}
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
        **signal_writes.create(table, signal),
        "delivery": store.create(table, delivery),
    }
    change = Change(
        "webhook.test", f"webhook:{webhook.id}", after={"delivery_id": f"delivery:{delivery.id}"}
    )
    answer = answered(delivery)
    _commit(table, call, writes, change=change, made=f"delivery:{delivery.id}", answer=answer)
    _send(queue, messages.for_attempt(delivery, call.now, slow=webhook.slowness.slow))
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
