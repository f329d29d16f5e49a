"""Signals: emits, lists, claims and acknowledges them; reads them for fan-out and deliveries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core import ids, settings
from gatehouse.core.clock import DAY, Micros
from gatehouse.core.errors import BadInput, Conflict, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.dynamo import idempotency, lanes
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write
from gatehouse.identities import actions as identities
from gatehouse.policy import actions as policy
from gatehouse.policy.model import Resource
from gatehouse.signals import rules, store
from gatehouse.signals.model import (
    LEASE,
    PING,
    STORED_TYPES,
    Mark,
    NewSignal,
    Signal,
    TaskStatus,
)

EMIT, INSPECT, CLAIM, ACK = "signal:emit", "signal:inspect", "task:claim", "task:ack"

# How much one call of `page` reads at most before it returns a cursor. The characters are those of
# contents, payloads and metadata: even as JSON within JSON, with every character escaped, they stay
# below the six megabytes that a Lambda response may have.
_MOST_SIGNALS = 1_000
_MOST_CHARACTERS = 400_000


def emit(
    table: Table, call: Call, new: NewSignal, *, answered: Callable[[Signal], Answered]
) -> Answered:
    """Store a signal and return the response that `answered` makes of it.

    Under an Idempotency-Key the response is stored with it. Raises BadInput, PolicyDenied, NotFound
    for an unknown identity, IdempotencyReused and Replay.
    """
    caller = call.caller
    signal = rules.create(
        new,
        signal_id=ids.new(call.now),
        account_id=caller.account_id,
        from_identity=f"identity:{caller.identity_id}",
        now=call.now,
        expires_at=_expiry(call.now),
    )
    # Before the stored response is read: this key may be narrower than the one used first.
    _permit(call, EMIT, rules.resource_of(signal))
    idempotency.check(table, call.guard)
    if signal.to_identity is not None:
        identities.get(table, signal.account_id, signal.to_identity.removeprefix("identity:"))
    answer = answered(signal)
    if call.guard is None:
        store.insert(table, signal)
    else:
        idempotency.once(
            table,
            list(store.create(table, signal).values()),
            claim=call.guard,
            made=f"signal:{signal.id}",
            answer=answer,
        )
    return answer


def receive(
    table: Table,
    account_id: str,
    *,
    type: str,  # noqa: A002 - the field's name
    content: str,
    from_identity: str,
    peer: str,
    now: Micros,
) -> tuple[Signal, dict[str, Write]]:
    """Check a signal that a peer sent; return it and the writes that store it."""
    checked = rules.check_type(type)
    signal = Signal(
        id=ids.new(now),
        account_id=account_id,
        type=checked,
        content=rules.check_content(content),
        from_identity=from_identity,
        created_at=now,
        expires_at=_expiry(now),
        origin_peer=peer,
        task_status=rules.unclaimed_status(checked),
    )
    return signal, store.create(table, signal)


def ping(account_id: str, *, now: Micros) -> Signal:
    """Return a signal that tests a webhook; it has no fan-out. Writes nothing."""
    return Signal(
        id=ids.new(now),
        account_id=account_id,
        type=PING,
        content="ping",
        from_identity="system:gatehouse",
        created_at=now,
        expires_at=_expiry(now),
        pending=False,
    )


def view(signal: Signal, now: Micros) -> dict[str, Any]:
    """Return a signal as callers see it, in plain JSON values."""
    return rules.view(signal, now)


def body(signal: Signal) -> bytes:
    """Return the body that webhooks receive: the same bytes for each attempt, as it is signed."""
    return rules.body(signal)


def from_image(image: Mapping[str, Any]) -> Signal:
    """Parse a signal in a stream record's image."""
    return store.from_image(image)


def mark_fanned_out(table: Table, signal: Signal) -> None:
    """Mark a signal's fan-out as finished. May be repeated."""
    store.mark_fanned_out(table, signal.id)


def find(table: Table, account_id: str, signal_id: str, *, now: Micros) -> Signal | None:
    """Read a signal by its bare id; None if it does not exist or its retention has ended."""
    signal = store.find(table, account_id, signal_id)
    return None if signal is None or signal.expires_at <= now else signal


def find_not_fanned_out(
    table: Table, account_id: str, signal_id: str, *, now: Micros
) -> Signal | None:
    """Read a signal whose fan-out is not finished; None if it is, or there is no such signal.

    Deletes the mark of a signal that was not stored ten minutes after it, or whose retention ended.
    """
    signal = find(table, account_id, signal_id, now=now)
    if signal is None:
        if ids.moment_of(signal_id) + rules.ABANDONED_AFTER <= now:
            try:
                store.mark_fanned_out(table, signal_id)
            except TransactionConflict as conflict:
                raise Unavailable from conflict
        return None
    [current] = store.with_state(table, [signal])
    return current if current.pending else None


def get(table: Table, call: Call, signal_id: str) -> Signal:
    """Read a signal that the caller may see. Raises NotFound."""
    caller = call.caller
    signal = find(table, caller.account_id, signal_id, now=call.now)
    if signal is None or not rules.may_see(caller.grants.permissions, signal):
        raise _not_found()
    [shown] = store.with_state(table, [signal])
    return shown


def page(
    table: Table,
    call: Call,
    *,
    type: str | None,  # noqa: A002 - the field's name
    ring: str | None,
    limit: int,
    before: str | None,
) -> tuple[list[Signal], str | None]:
    """List the signals that the caller may see, newest first, and the cursor, None at the end.

    Reads only so many signals in one call: a page may have fewer signals than `limit`, even none,
    and still have a cursor. Raises BadInput, or PolicyDenied if the key's permissions exclude the
    type or the ring.
    """
    if type is not None and type not in STORED_TYPES:
        raise BadInput(f"type must be one of {', '.join(STORED_TYPES)}", details={"field": "type"})
    rules.check_label(ring, field="ring")
    _permit(call, INSPECT, Resource(signal_type=type, ring=ring))
    account_id, permissions = call.caller.account_id, call.caller.grants.permissions
    oldest = ids.lowest(call.now - settings.SIGNAL_DAYS.number() * DAY)
    page: list[Signal] = []
    following = None
    characters = 0
    found = store.newest_first(table, account_id, before=before, limit=limit + 1)
    for number, signal in enumerate(found):
        if signal.id < oldest:
            break
        if number == _MOST_SIGNALS or characters >= _MOST_CHARACTERS:
            return store.with_state(table, page), following
        wanted = type in {None, signal.type} and ring in {None, signal.to_ring}
        if wanted and signal.expires_at > call.now and rules.may_see(permissions, signal):
            if len(page) == limit:
                return store.with_state(table, page), following
            page.append(signal)
        following = signal.id
        characters += len(signal.content) + len(signal.payload) + len(signal.metadata)
    return store.with_state(table, page), None


def claim(table: Table, call: Call, signal_id: str) -> Signal:
    """Claim a signal for 15 minutes, or renew the claim. Of concurrent callers, one succeeds.

    Raises NotFound, PolicyDenied, or Conflict if another identity claimed the signal or the signal
    is addressed to another identity.
    """
    signal, me = _get_permitted(table, call, signal_id, CLAIM)
    if not rules.may_claim(signal, me):
        raise _conflict("The signal is addressed to another identity")
    try:
        claimed = store.claim(table, signal, by=me, until=call.now + LEASE, now=call.now)
    except ConditionFailed as failed:
        current = _current(failed, call.now)
        if current.acked:
            raise _conflict("The signal is already acknowledged") from failed
        raise _conflict("The signal is claimed by another identity") from failed
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return replace(claimed, pending=signal.pending)


def ack(table: Table, call: Call, signal_id: str) -> Signal:
    """Acknowledge a signal that the caller has claimed; a repeat changes nothing.

    Raises NotFound, PolicyDenied, or Conflict if the caller has no live claim.
    """
    signal, me = _get_permitted(table, call, signal_id, ACK)
    try:
        acked = store.ack(table, signal, by=me, now=call.now)
    except ConditionFailed as failed:
        current = _current(failed, call.now)
        if current.acked and current.claimed_by == me:
            return replace(current, pending=signal.pending)
        if current.task_status is TaskStatus.CLAIMED and current.claimed_by == me:
            raise _conflict("The claim has expired; claim the signal again") from failed
        raise _conflict("Only the identity that claimed the signal may acknowledge it") from failed
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return replace(acked, pending=signal.pending)


def list_not_fanned_out(table: Table, *, before: Micros, limit: int) -> list[Mark]:
    """List the marks of signals whose fan-out was due before a moment and is not finished.

    At most `limit`, and of each shard at most its share, so that signals whose fan-out always
    fails do not block those of other shards. Reads the shards side by side.
    """
    share = -(-limit // store.SHARDS)
    due = before - rules.OVERDUE_AFTER

    def read(shard: int) -> list[Mark]:
        return store.list_overdue(table, shard, before=due, limit=share)

    found = lanes.each(read, range(store.SHARDS))
    oldest_first = sorted(itertools.chain.from_iterable(found), key=lambda one: one.signal_id)
    return oldest_first[:limit]


def _get_permitted(table: Table, call: Call, signal_id: str, action: str) -> tuple[Signal, str]:
    """Read a signal, check that the caller may act on it, and return it with the caller's id."""
    signal = get(table, call, signal_id)
    _permit(call, action, rules.resource_of(signal))
    return signal, f"identity:{call.caller.identity_id}"


def _permit(call: Call, action: str, resource: Resource) -> None:
    decision = policy.evaluate(action, policy.subject_of(call.caller), resource=resource)
    if not decision.allowed:
        raise policy.denial(decision)


def _current(failed: ConditionFailed, now: Micros) -> Signal:
    """Return the signal as it was when the condition failed. Raises NotFound if it was deleted."""
    signal = None if failed.item is None else store.from_item(failed.item)
    if signal is None or signal.expires_at <= now:
        raise _not_found() from failed
    return signal


def _expiry(now: Micros) -> Micros:
    return now + settings.SIGNAL_DAYS.number() * DAY


def _not_found() -> NotFound:
    return NotFound("Signal not found", code="SIGNAL_NOT_FOUND")


def _conflict(message: str) -> Conflict:
    return Conflict(message, code="SIGNAL_CLAIM_CONFLICT")
