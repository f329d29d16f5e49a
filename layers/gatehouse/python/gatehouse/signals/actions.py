"""Emit signals, find them, take them on; and what fan-out and deliveries need of them."""

from __future__ import annotations

from collections.abc import Callable

from gatehouse.core import ids, settings
from gatehouse.core.clock import DAY, MINUTE, Micros
from gatehouse.core.errors import BadInput, Conflict, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write
from gatehouse.identities import actions as identities
from gatehouse.policy import actions as policy
from gatehouse.policy.model import Resource
from gatehouse.signals import rules, store
from gatehouse.signals.model import PING, STORED_TYPES, Signal, TaskStatus, Wish

EMIT, INSPECT, CLAIM, ACK = "signal:emit", "signal:inspect", "task:claim", "task:ack"

# What one call of `page` looks through at most before it answers with a cursor. The characters
# are of contents, payloads and metadata: written as JSON within JSON, with every character
# escaped, they stay below the six megabytes that Lambda answers.
_MOST_READS = 40
_MOST_SIGNALS = 1_000
_MOST_CHARACTERS = 400_000

# What webhooks receive, what callers are shown, and what fan-out reads and notes.
body = rules.body
view = rules.view
from_image = store.from_image
fanned_out = store.fanned_out


def emit(
    table: Table, call: Call, wish: Wish, *, answered: Callable[[Signal], Answered]
) -> Answered:
    """Make a signal and give the answer to it, which `answered` writes.

    Under an Idempotency-Key the answer is kept with it. Raises BadInput, PolicyDenied, NotFound
    for an identity that is not there, IdempotencyReused and Replay.
    """
    caller = call.caller
    signal = rules.made(
        wish,
        signal_id=ids.new(call.now),
        account_id=caller.account_id,
        from_identity=f"identity:{caller.identity_id}",
        now=call.now,
        expires_at=_end(call.now),
    )
    # Before the repeat's answer is looked up: a key may be narrower than the one that was used.
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
            [store.record(table, signal)],
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
) -> tuple[Signal, Write]:
    """Make a signal that another instance sent, and the write that keeps it."""
    checked = rules.type_of(type)
    signal = Signal(
        id=ids.new(now),
        account_id=account_id,
        type=checked,
        content=rules.content_of(content),
        from_identity=from_identity,
        created_at=now,
        expires_at=_end(now),
        origin_peer=peer,
        task_status=rules.unclaimed(checked),
    )
    return signal, store.record(table, signal)


def ping(account_id: str, *, now: Micros) -> Signal:
    """Make the signal that tests a webhook; it is fanned out to nobody."""
    return Signal(
        id=ids.new(now),
        account_id=account_id,
        type=PING,
        content="ping",
        from_identity="system:gatehouse",
        created_at=now,
        expires_at=_end(now),
        pending=False,
    )


keep = store.record


def find(table: Table, account_id: str, signal_id: str, *, now: Micros) -> Signal | None:
    """Read a signal by its bare id; None where there is none, or its retention is over."""
    signal = store.read(table, account_id, signal_id)
    return None if signal is None or signal.expires_at <= now else signal


def get(table: Table, call: Call, signal_id: str) -> Signal:
    """Read a signal that the caller may see, or raise NotFound."""
    caller = call.caller
    signal = find(table, caller.account_id, signal_id, now=call.now)
    if signal is None or not rules.may_see(caller.grants.permissions, signal):
        raise _unknown()
    return signal


def page(
    table: Table,
    call: Call,
    *,
    type: str | None,  # noqa: A002 - the field's name
    ring: str | None,
    limit: int,
    before: str | None,
) -> tuple[list[Signal], str | None]:
    """List what the caller may see, newest first, and where to go on, None at the end.

    Walks the days backwards, through a bounded stretch: a page may hold fewer than `limit`, even
    none, and still have more behind it. Raises BadInput, or PolicyDenied for what is asked for
    and outside the key's permissions.
    """
    if type is not None and type not in STORED_TYPES:
        raise BadInput(f"type must be one of {', '.join(STORED_TYPES)}", details={"field": "type"})
    rules.label_of(ring, field="ring")
    _permit(call, INSPECT, Resource(signal_type=type, ring=ring))
    account_id, permissions = call.caller.account_id, call.caller.grants.permissions
    kept_since = call.now - settings.SIGNAL_DAYS.number() * DAY
    # An account has no signal older than itself.
    oldest = rules.day_of(max(kept_since, ids.moment_of(account_id)))
    day = rules.day_of(call.now)
    if before is not None:
        day = min(day, rules.day_of(ids.moment_of(before)))
    found: list[Signal] = []
    reads = looked = characters = 0
    while day >= oldest:
        if reads == _MOST_READS or looked >= _MOST_SIGNALS or characters >= _MOST_CHARACTERS:
            return found, before
        signals, more = store.read_day(table, account_id, day=day, before=before, limit=limit + 1)
        reads += 1
        for signal in signals:
            wanted = type in {None, signal.type} and ring in {None, signal.to_ring}
            live = signal.expires_at > call.now
            if wanted and live and rules.may_see(permissions, signal):
                if len(found) == limit or characters >= _MOST_CHARACTERS:
                    return found, before
                found.append(signal)
            before = signal.id
            looked += 1
            characters += len(signal.content) + len(signal.payload) + len(signal.metadata)
        if not more:
            before = ids.lowest(day * DAY)
            day -= 1
    return found, None


def claim(table: Table, call: Call, signal_id: str) -> Signal:
    """Take a signal on for 15 minutes, or for as long again. One of many at once gets it.

    Raises NotFound, PolicyDenied, or Conflict where another identity has it or is to have it.
    """
    signal, me = _for_work(table, call, signal_id, CLAIM)
    if not rules.is_due_to(signal, me):
        raise _conflict("The signal is addressed to another identity")
    try:
        return store.claim(table, signal, by=me, until=call.now + rules.LEASE, now=call.now)
    except ConditionFailed as failed:
        standing = _standing(failed, call.now)
        if standing.acked:
            raise _conflict("The signal is acknowledged already") from failed
        raise _conflict("The signal is claimed by another identity") from failed
    except TransactionConflict as conflict:
        raise Unavailable from conflict


def ack(table: Table, call: Call, signal_id: str) -> Signal:
    """Say that a claimed signal is done. Once more is as good as once.

    Raises NotFound, PolicyDenied, or Conflict where the caller's claim does not live.
    """
    signal, me = _for_work(table, call, signal_id, ACK)
    try:
        return store.ack(table, signal, by=me, now=call.now)
    except ConditionFailed as failed:
        standing = _standing(failed, call.now)
        if standing.acked and standing.claimed_by == me:
            return standing
        if standing.task_status is TaskStatus.CLAIMED and standing.claimed_by == me:
            raise _conflict("The claim has ended; claim the signal again") from failed
        raise _conflict("Only who has claimed the signal acknowledges it") from failed
    except TransactionConflict as conflict:
        raise Unavailable from conflict


def not_fanned_out(table: Table, *, before: Micros, limit: int) -> list[Signal]:
    """Find signals due before a moment that are still to be fanned out, at most `limit`.

    Begins with another shard each minute, so that none waits behind what cannot be done.
    """
    keys: list[dict[str, str]] = []
    start = before // MINUTE
    for step in range(store.SHARDS):
        if len(keys) >= limit:
            break
        shard = (start + step) % store.SHARDS
        keys += store.overdue(table, shard=shard, before=before, limit=limit - len(keys))
    return store.read_pending(table, keys)


def _for_work(table: Table, call: Call, signal_id: str, action: str) -> tuple[Signal, str]:
    """Read a signal that the caller may act on, and name the caller."""
    signal = get(table, call, signal_id)
    _permit(call, action, rules.resource_of(signal))
    return signal, f"identity:{call.caller.identity_id}"


def _permit(call: Call, action: str, resource: Resource) -> None:
    decision = policy.evaluate(action, policy.subject_of(call.caller), resource=resource)
    if not decision.allowed:
        raise policy.denial(decision)


def _standing(failed: ConditionFailed, now: Micros) -> Signal:
    """Read what stood in the way; NotFound where the signal went away meanwhile."""
    signal = None if failed.item is None else store.from_item(failed.item)
    if signal is None or signal.expires_at <= now:
        raise _unknown() from failed
    return signal


def _end(now: Micros) -> Micros:
    return now + settings.SIGNAL_DAYS.number() * DAY


def _unknown() -> NotFound:
    return NotFound("Signal not found", code="SIGNAL_NOT_FOUND")


def _conflict(message: str) -> Conflict:
    return Conflict(message, code="SIGNAL_CLAIM_CONFLICT")
