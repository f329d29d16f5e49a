"""Claims and acknowledgements of signals, also by several callers at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.core.errors import Conflict, NotFound, Unavailable
from gatehouse.dynamo import attributes
from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from gatehouse.signals import store
from gatehouse.signals.model import LEASE, Signal
from support.actors.emitter import emit, stored
from support.actors.visitor import Visitor, visitor
from support.aws.faults import Wire, error, first


def _as(caller: Visitor, identity: str) -> Visitor:
    return replace(caller, principal=replace(caller.principal, identity_id=identity))


def test_a_claim_between_read_and_write_wins(tables: Tables, room_line: Wire) -> None:
    caller = visitor(tables)
    other = _as(caller, "other")
    for what in (signals.claim, signals.ack):
        task = emit(caller, signal_type="task")
        if what is signals.ack:
            signals.claim(tables.main, caller.call(), task.id)

        def between(_: int, operation: str, task: Signal = task, what: Any = what) -> None:
            if operation == "UpdateItem":
                room_line.before = None
                if what is signals.ack:
                    caller.now += LEASE
                signals.claim(tables.main, replace(other, now=caller.now).call(), task.id)

        room_line.before = between
        call = caller.call()
        if what is signals.ack:
            call = replace(call, now=call.now + LEASE)
        with pytest.raises(Conflict) as refused:
            what(tables.main, call, task.id)
        assert refused.value.code == "SIGNAL_CLAIM_CONFLICT"
        claimed = signals.find(tables.main, caller.account_id, task.id, now=caller.now)
        assert claimed is not None
        assert claimed.claimed_by == "identity:other"


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_a_signal_deleted_between_read_and_write_is_not_found(
    tables: Tables, room_line: Wire, what: str
) -> None:
    caller = visitor(tables)
    task = emit(caller, signal_type="task")
    signals.claim(tables.main, caller.call(), task.id)

    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":
            room_line.before = None
            tables.main.client.delete_item(
                TableName=tables.main.name,
                Key=attributes.marshal(store._key(caller.account_id, task.id)),  # noqa: SLF001
            )

    room_line.before = between
    with pytest.raises(NotFound):
        getattr(signals, what)(tables.main, caller.call(), task.id)
    assert stored(tables) == [], "nothing was made of it"


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_a_conflict_with_another_transaction_is_unavailable(
    tables: Tables, room_line: Wire, what: str
) -> None:
    caller = visitor(tables)
    task = emit(caller, signal_type="task")
    signals.claim(tables.main, caller.call(), task.id)
    room_line.before = first(1, lambda: error("TransactionConflictException"), "UpdateItem")
    with pytest.raises(Unavailable):
        getattr(signals, what)(tables.main, caller.call(), task.id)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["claim", "ack", "wait"]))))
def test_any_sequence_of_claims_and_acknowledgements_follows_the_model(
    stack: Tables, steps: list[tuple[str, str]]
) -> None:
    """The model: who holds it, until when, and whether it is done."""
    caller = visitor(stack)
    task = emit(caller, signal_type="task")
    holder, until, done = None, 0, False
    for name, step in steps:
        live = holder is not None and until > caller.now
        if step == "wait":
            caller.now += LEASE // 2
            continue
        if step == "claim":
            good = not done and (not live or holder == name)
        else:
            good = holder == name and (done or live)
        try:
            got = getattr(signals, step)(stack.main, _as(caller, name).call(), task.id)
        except Conflict:
            assert not good
            continue
        assert good
        holder = name
        done = done or step == "ack"
        until = caller.now + LEASE if step == "claim" else until
        assert got.claimed_by == f"identity:{holder}"
        assert got.claim_expires_at == (None if done else until)
        assert got.acked == done
        assert signals.find(stack.main, caller.account_id, task.id, now=caller.now) == got
