"""Killed at every call to the table, before it and after it: a signal is made once or not at all.

Under an Idempotency-Key whoever asks again gets the first answer, whether or not it ever arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.core.errors import Conflict, IdempotencyReused, Unavailable
from gatehouse.core.request import Answered
from gatehouse.dynamo.idempotency import Replay
from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from gatehouse.signals.model import NewSignal, Signal
from support.actors.visitor import Visitor, visitor
from support.aws.faults import Killed, Wire, die_at, first, no_answer
from support.checks.inspection import items

MOST_CALLS = 10
WHEN = pytest.mark.parametrize("when", ["before", "after"])


def emit(caller: Visitor, *, token: str | None = None, body: bytes = b"") -> str:
    """Emit a signal for the caller itself; give the answer's text, first or again."""
    new = NewSignal("task", "x", to_identity=caller.principal.identity_id)
    call = caller.call(token=token, body=body)
    try:
        return signals.emit(caller.tables.main, call, new, answered=_answered).text
    except Replay as replay:
        return replay.answer.text


def _answered(signal: Signal) -> Answered:
    return Answered(201, signal.id)


def ids_of(caller: Visitor) -> set[str]:
    """Return the ids of the account's signals."""
    mine = f"SIGNAL#{caller.account_id}#"
    return {item["sk"] for item in items(caller.tables.main) if item["pk"].startswith(mine)}


def killed(line: Wire, when: str, number: int, act: Callable[[], Any]) -> bool:
    """Do it, dying at call `number`; False where it has no such call and was done."""
    line.clear()
    setattr(line, when, die_at(number))
    try:
        act()
    except Killed:
        return True
    finally:
        line.clear()
    return False


@WHEN
def test_with_an_idempotency_key_a_signal_is_stored_exactly_once(
    tables: Tables, room_line: Wire, when: str
) -> None:
    reached = []
    for number in range(1, MOST_CALLS):
        caller = visitor(tables)
        if not killed(room_line, when, number, lambda caller=caller: emit(caller, token="once")):
            break
        made = ids_of(caller)
        assert len(made) == (when == "after" and number == 3)
        reached.append(len(made))
        answers = {emit(caller, token="once") for _ in range(3)}
        assert answers == ids_of(caller)
        assert made <= answers, "the dead one's signal is the one"
        with pytest.raises(IdempotencyReused):
            emit(caller, token="once", body=b"other")
    assert reached == [0, 0, int(when == "after")], "the record, the addressee, the transaction"


@WHEN
def test_without_an_idempotency_key_a_signal_is_stored_at_most_once_per_request(
    tables: Tables, room_line: Wire, when: str
) -> None:
    reached = []
    for number in range(1, MOST_CALLS):
        caller = visitor(tables)
        if not killed(room_line, when, number, lambda caller=caller: emit(caller)):
            break
        reached.append(len(ids_of(caller)))
        assert emit(caller) in ids_of(caller)
    assert reached == [0, 0, int(when == "after")], "the addressee, the mark, the signal"


@pytest.mark.parametrize("token", ["once", None])
def test_every_stored_signal_has_a_mark(tables: Tables, room_line: Wire, token: str | None) -> None:
    """The emitter may die right after the write: fan-out is then the stream's and the sweeper's."""
    caller = visitor(tables)
    assert killed(room_line, "after", 3, lambda: emit(caller, token=token)), "at the write"
    overdue = signals.list_not_fanned_out(tables.main, before=caller.now + 10**12, limit=10)
    assert {one.signal_id for one in overdue} == ids_of(caller) != set()


@pytest.mark.parametrize("what", ["claim", "ack"])
@WHEN
def test_a_claim_or_an_acknowledgement_can_be_repeated_after_a_crash(
    tables: Tables, room_line: Wire, what: str, when: str
) -> None:
    died = 0
    for number in range(1, MOST_CALLS):
        caller = visitor(tables)
        task = emit(caller)
        if what == "ack":
            signals.claim(tables.main, caller.call(), task)

        def act(caller: Visitor = caller, task: str = task) -> Signal:
            return getattr(signals, what)(caller.tables.main, caller.call(), task)

        if not killed(room_line, when, number, act):
            break
        died += 1
        again = act()
        assert again.acked == (what == "ack")
        assert again.claimed_by == f"identity:{caller.principal.identity_id}"
        if what == "claim":
            assert again.claim_expires_at == caller.now + 15 * 60 * 1_000_000
        else:
            with pytest.raises(Conflict):
                signals.claim(tables.main, caller.call(), task)
    assert died == 3, "the read, the mark, the update"


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems", "PutItem"])
def test_while_the_table_is_unavailable_no_request_succeeds(
    tables: Tables, room_line: Wire, operation: str
) -> None:
    caller = visitor(tables)
    token = None if operation == "PutItem" else "once"
    room_line.before = first(1, no_answer, operation)
    with pytest.raises(Unavailable):
        emit(caller, token=token)
    assert ids_of(caller) == set()
    assert emit(caller, token=token) in ids_of(caller)
