"""Idempotency records: with an answer a repeat gets it, without one the repeat is refused."""

from __future__ import annotations

import pytest

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import DAY, SECOND
from gatehouse.core.errors import IdempotencyReused, Unavailable
from gatehouse.core.request import Answered, Guard
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.idempotency import Replay
from gatehouse.dynamo.table import ConditionFailed, Table, Tables, Write, transact
from support.aws.faults import Wire, conflict_in_transaction, error, first
from support.checks.inspection import State, items

NOW = 1_800_000_000 * SECOND
GUARD = Guard("digest", "hash", NOW)
ANSWER = Answered(202, '{"text":"grüße"}')


def later(by: int, body_hash: str = "hash") -> Guard:
    return Guard("digest", body_hash, NOW + by)


def thing(table: Table, name: str = "thing") -> Write:
    return table.put_new({"pk": name, "sk": name})


def names(tables: Tables) -> set[str]:
    return {item["pk"] for item in items(tables.main)}


def once(tables: Tables, guard: Guard, *writes: Write, answer: Answered = ANSWER) -> None:
    idempotency.once(tables.main, writes, claim=guard, made="thing:1", answer=answer)


def test_a_repeat_gets_the_first_answer_for_a_day(tables: Tables) -> None:
    idempotency.check(tables.main, None)
    idempotency.check(tables.main, GUARD)
    once(tables, GUARD, thing(tables.main))
    for guard in (GUARD, later(DAY - 1)):
        with pytest.raises(Replay) as again:
            idempotency.check(tables.main, guard)
        assert again.value.answer == ANSWER
    idempotency.check(tables.main, later(DAY))
    once(tables, later(DAY), thing(tables.main, "second"), answer=Answered(201, "{}"))
    with pytest.raises(Replay) as again:
        idempotency.check(tables.main, later(DAY))
    assert again.value.answer == Answered(201, "{}")


def test_another_body_is_refused_before_and_during_the_write(tables: Tables) -> None:
    once(tables, GUARD, thing(tables.main))
    other = later(0, "other")
    for act in (
        lambda: idempotency.check(tables.main, other),
        lambda: once(tables, other, thing(tables.main, "second")),
    ):
        with pytest.raises(IdempotencyReused) as refused:
            act()
        assert refused.value.details == {}
    assert "second" not in names(tables)


def test_the_loser_of_a_race_gets_the_winner_s_answer(tables: Tables) -> None:
    once(tables, GUARD, thing(tables.main))
    with pytest.raises(Replay) as again:
        once(tables, GUARD, thing(tables.main, "second"), answer=Answered(201, "the loser's"))
    assert again.value.answer == ANSWER
    assert "second" not in names(tables)


def test_a_failed_condition_leaves_the_key_unused(tables: Tables) -> None:
    transact(tables.main.client, [thing(tables.main)])
    with pytest.raises(ConditionFailed) as failed:
        once(tables, GUARD, thing(tables.main, "second"), thing(tables.main))
    assert failed.value.item == {"pk": "thing", "sk": "thing"}
    assert names(tables) == {"thing"}
    idempotency.check(tables.main, GUARD)


def test_an_answer_with_a_secret_is_never_returned_again(tables: Tables) -> None:
    transact(tables.main.client, [idempotency.record(tables.main, GUARD, made="thing:1")])
    (record,) = items(tables.main)
    assert not {"status", "answer"} & record.keys()
    for act in (
        lambda: idempotency.check(tables.main, GUARD),
        lambda: once(tables, GUARD, thing(tables.main)),
    ):
        with pytest.raises(IdempotencyReused) as refused:
            act()
        assert refused.value.details == {"id": "thing:1"}


def test_conflicts_are_retried_with_jitter_a_limited_number_of_times(
    tables: Tables, room_line: Wire, sleeps: list[float]
) -> None:
    room_line.before = first(5, lambda: conflict_in_transaction(2), "TransactWriteItems")
    once(tables, GUARD, thing(tables.main))
    assert len(sleeps) == 5
    assert all(0 <= slept <= 0.02 * 2**number for number, slept in enumerate(sleeps))
    room_line.before = first(99, lambda: error("TransactionConflictException"))
    with pytest.raises(Unavailable):
        once(tables, Guard("other", "hash", NOW), thing(tables.main, "second"))
    assert sum(sleeps) < 3
    room_line.clear()
    assert names(tables) == {"thing", "IDEMPOTENCY#digest"}


def test_a_repeat_of_an_audited_change_gets_the_first_answer(tables: Tables) -> None:
    def commit(name: str) -> None:
        audit.commit(
            tables.main,
            "account",
            writes={"thing": thing(tables.main, name)},
            changes=[Change("thing.make", f"thing:{name}")],
            origin=Origin("tester", "request"),
            now=NOW,
            claim=audit.Claim(GUARD, "thing:1", ANSWER),
        )

    commit("one")
    with pytest.raises(Replay) as again:
        commit("two")
    assert again.value.answer == ANSWER
    assert len(State(tables).events("account")) == 1
    assert "two" not in names(tables)
