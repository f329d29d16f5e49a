"""What an admin asks of deliveries: look, replay, recover, ping."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import Conflict, Gone, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.messages import ask, go
from gatehouse.deliveries.model import (
    PING,
    Attempt,
    Delivery,
    Parked,
    Recover,
    Status,
    Wake,
)
from gatehouse.deliveries.writes import waking as waking_of
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.signals import actions as signals
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

MOST_ATTEMPTS = 100

_STATES = {
    Status.PENDING: (Status.PENDING.value, store.PARKED),
    Status.RETRYING: (Status.RETRYING.value,),
    Status.DELIVERED: (Status.DELIVERED.value,),
    Status.DEAD_LETTER: (Status.DEAD_LETTER.value,),
}
_COUNTED_AT_ONCE = 1_000


def page(
    table: Table,
    call: Call,
    webhook_id: str,
    *,
    status: Status | None,
    limit: int,
    after: str | None,
) -> tuple[list[Delivery], str | None]:
    """Read a webhook's deliveries, newest first, and where to go on (a bare id)."""
    webhook = _webhook(table, call, webhook_id)
    states = [state for one in ([status] if status else [*Status]) for state in _STATES[one]]
    below = None if after is None else _before(after)
    found: set[str] = set()
    for state in states:
        found |= set(store.listed(table, webhook.id, state, high=below, limit=limit + 1))
    wanted = sorted(found, reverse=True)
    # Read again: what the index says of a state is a moment old.
    there = [
        one
        for one in store.find_all(table, wanted[:limit])
        if status is None or one.status is status
    ]
    return there, wanted[limit - 1] if len(wanted) > limit else None


def get(table: Table, call: Call, delivery_id: str) -> tuple[Delivery, list[Attempt]]:
    """Read a delivery and its last hundred attempts, the first of them first."""
    delivery = _delivery(table, call, delivery_id)
    attempts = store.attempts(table, delivery.id, limit=MOST_ATTEMPTS)
    # One that was made and not recorded is made again under the same number.
    return delivery, [one for one in attempts if one.number <= delivery.attempt_count]


def replay(
    table: Table,
    call: Call,
    queue: Queue,
    *,
    delivery_id: str,
    answered: Callable[[Delivery], Answered],
) -> Answered:
    """Send a dead delivery again, or a delivered one as a new one, so that nobody drops it.

    Raises Conflict DELIVERY_OPEN while it is open, unless it was parked by our own fault, and Gone
    SIGNAL_EXPIRED when there is nothing left to send.
    """
    idempotency.check(table, call.guard)
    for _ in range(3):
        before = _delivery(table, call, delivery_id)
        if before.is_open and before.parked is not Parked.INTERNAL:
            raise Conflict("The delivery is still open", code="DELIVERY_OPEN")
        signal = signals.find(table, before.account_id, before.signal_id, now=call.now)
        if signal is None:
            raise Gone("The signal is past its retention", code="SIGNAL_EXPIRED")
        _webhook(table, call, before.webhook_id)
        if before.status is Status.DELIVERED:
            after = rules.made(
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
            after = rules.again(before, call.now)
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
        _send(queue, go(after, call.now))
        return answer
    raise Unavailable


def count_dead(table: Table, call: Call, webhook_id: str, *, since: Micros) -> int:
    """Count a webhook's dead letters since, those that a recovery would replay."""
    webhook = _webhook(table, call, webhook_id)
    low, counted = rules.lowest_id(since), 0
    while True:
        ids_ = store.listed(
            table,
            webhook.id,
            Status.DEAD_LETTER.value,
            low=low,
            newest_first=False,
            limit=_COUNTED_AT_ONCE,
        )
        counted += sum(
            rules.can_recover(one, asked_at=call.now, now=call.now)
            for one in store.find_all(table, ids_)
        )
        if len(ids_) < _COUNTED_AT_ONCE:
            return counted
        low = _after(ids_[-1])


def recover(
    table: Table,
    call: Call,
    queue: Queue,
    *,
    webhook_id: str,
    since: Micros,
    answered: Callable[[int], Answered],
) -> Answered:
    """Have all dead letters of signals since then replayed, by a worker: there may be many.

    `answered` is told how many there are.
    """
    idempotency.check(table, call.guard)
    counted = count_dead(table, call, webhook_id, since=since)
    change = Change(
        "webhook.recover",
        f"webhook:{webhook_id}",
        after={"since": rfc3339(since), "count": counted},
    )
    answer = answered(counted)
    message = Recover(call.caller.account_id, webhook_id, rules.lowest_id(since), call.now)
    # The note is the net: who is told 202 is not told again, so it must be done.
    writes = {"mark": store.mark(table, message, now=call.now)}
    _commit(table, call, writes, change=change, made=f"webhook:{webhook_id}", answer=answer)
    _send(queue, ask(message))
    return answer


def ping(
    table: Table,
    call: Call,
    queue: Queue,
    *,
    webhook_id: str,
    answered: Callable[[Delivery], Answered],
) -> Answered:
    """Send a `ping` on the real way: a stored signal that no filter matches, and its delivery."""
    idempotency.check(table, call.guard)
    webhook = _webhook(table, call, webhook_id)
    signal = signals.ping(call.caller.account_id, now=call.now)
    delivery = rules.made(
        id=rules.id_of(signal.id, webhook.id),
        account_id=webhook.account_id,
        webhook_id=webhook.id,
        signal_id=signal.id,
        event=PING,
        signal_ends_at=signal.expires_at,
        now=call.now,
    )
    writes = {"signal": signals.keep(table, signal), "delivery": store.create(table, delivery)}
    change = Change(
        "webhook.test", f"webhook:{webhook.id}", after={"delivery_id": f"delivery:{delivery.id}"}
    )
    answer = answered(delivery)
    _commit(table, call, writes, change=change, made=f"delivery:{delivery.id}", answer=answer)
    _send(queue, go(delivery, call.now))
    return answer


def waking(table: Table, call: Call, webhook_id: str) -> dict[str, Write]:
    """Give the note that a webhook's parked deliveries go on, for the change that wakes it."""
    return waking_of(table, call.caller.account_id, webhook_id, now=call.now)


def send_wake(queue: Queue, call: Call, webhook_id: str) -> None:
    """Tell a worker to wake a webhook's deliveries at once."""
    _send(queue, ask(Wake(call.caller.account_id, webhook_id)))


def _send(queue: Queue, message: Outgoing) -> None:
    """Send a message of what is written already.

    Quiet when the queue does not answer: the due index or the note is the net, and an error would
    say that nothing was done.
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


def _webhook(table: Table, call: Call, webhook_id: str) -> Webhook:
    webhook = webhooks.find(table, call.caller.account_id, webhook_id)
    if webhook is None:
        raise NotFound("Webhook not found", code="WEBHOOK_NOT_FOUND")
    return webhook


def _delivery(table: Table, call: Call, delivery_id: str) -> Delivery:
    delivery = store.find(table, delivery_id)
    if delivery is None or delivery.account_id != call.caller.account_id:
        raise NotFound("Delivery not found", code="DELIVERY_NOT_FOUND")
    return delivery


def _before(delivery_id: str) -> str:
    # An index reads both ends; nothing of ours lies between an id and this.
    return f"{delivery_id[:-1]}{chr(ord(delivery_id[-1]) - 1)}~"


def _after(delivery_id: str) -> str:
    return f"{delivery_id}~"
