"""Admission call by call: which table call comes first, what is remembered, when it gives up."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import Unavailable
from gatehouse.core.grants import FULL
from gatehouse.core.principal import RateLimitState
from gatehouse.credentials import actions as credentials
from gatehouse.credentials import store
from gatehouse.credentials.actions import UNLIMITED, Memory
from gatehouse.credentials.model import Code, Credential, Owner, Verdict
from gatehouse.dynamo.table import ConditionFailed, TransactionConflict

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
KEY = "hk_" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f76cc6956"
DIGEST = "cabb21fc2103415f92ce4d053979eeb7c57dd5cec8b9e4b3692706bbcdff52bd"
OWNER = Owner("i1", is_admin=False, claw_type="employee", membership="active")
FREE = Credential(DIGEST, "k1", "a1", "hk_0001", OWNER, FULL, operator=False)
UNUSED = replace(FREE, rate_limit=60)
BUSY = replace(UNUSED, tat=NOW + 1)
FULL_WINDOW = replace(UNUSED, tat=NOW + MINUTE)
REVOKED = replace(FREE, ended=True)


def _item(credential: Credential | None) -> dict[str, Any] | None:
    if credential is None:
        return None
    later = {"tat": credential.tat, "used": credential.last_used_at}
    later |= {"over": True if credential.ended else None}
    item = store.to_item(credential)
    return {**item, **{name: value for name, value in later.items() if value is not None}}


class Script:
    """A table with prepared answers. A credential is an item, `_not` one whose condition failed."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[str] = []
        self._answers = list(answers)

    def get(self, key: Mapping[str, str]) -> Any:
        assert key == {"pk": f"KEY#{DIGEST}"}
        return self._answer("read")

    def update(self, key: Mapping[str, str], expression: str, **request: Any) -> Any:
        assert key == {"pk": f"KEY#{DIGEST}"}
        assert request["values"].get(":now", NOW) == NOW
        kinds = {"SET tat = :now": "unused", "SET tat = tat": "busy", "SET used": "last use"}
        kind = next((kinds[text] for text in kinds if expression.startswith(text)), "owner")
        return self._answer(kind)

    def _answer(self, call: str) -> Any:
        self.calls.append(call)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return _item(answer)


def _not(credential: Credential | None) -> ConditionFailed:
    return ConditionFailed(_item(credential))


def _memory(hint: int | None) -> Memory:
    memory = Memory()
    if hint is not None:
        limit = None if hint == UNLIMITED else 60
        memory.remember(replace(FREE, rate_limit=limit, tat=hint))
    return memory


SPENT = replace(UNUSED, tat=NOW + 1_000_000)
MORE = replace(UNUSED, tat=NOW + 1_000_001)
VALID = Verdict(Code.VALID, FREE)
ONE_LESS = Verdict(Code.VALID, SPENT, RateLimitState(60, 59, 1))
TWO_LESS = Verdict(Code.VALID, MORE, RateLimitState(60, 58, 2))
OVER = Verdict(Code.RATE_LIMITED, FULL_WINDOW, RateLimitState(60, 0, 60, 1))
JUST_USED = replace(FREE, last_used_at=NOW - MINUTE + 1)
DISABLED = replace(FULL_WINDOW, enabled=False)


@pytest.mark.parametrize(
    ("hint", "answers", "calls", "verdict", "remembered"),
    [
        # The first call decides.
        (None, [_not(None)], "unused", Verdict(Code.NOT_FOUND), None),
        (None, [SPENT], "unused", ONE_LESS, NOW + 1_000_000),
        (NOW, [SPENT], "unused", ONE_LESS, NOW + 1_000_000),
        (NOW + 1, [MORE], "busy", TWO_LESS, NOW + 1_000_001),
        (NOW + 1, [_not(FULL_WINDOW)], "busy", OVER, NOW + MINUTE),
        (None, [_not(FULL_WINDOW)], "unused", OVER, NOW + MINUTE),
        (None, [_not(DISABLED)], "unused", Verdict(Code.DISABLED, DISABLED), NOW + MINUTE),
        (None, [_not(REVOKED)], "unused", Verdict(Code.REVOKED, REVOKED), UNLIMITED),
        (UNLIMITED, [None], "read", Verdict(Code.NOT_FOUND), UNLIMITED),
        (UNLIMITED, [REVOKED], "read", Verdict(Code.REVOKED, REVOKED), UNLIMITED),
        (UNLIMITED, [FULL_WINDOW], "read", OVER, NOW + MINUTE),
        # The last use of a valid key without a limit is written too.
        (None, [_not(FREE), FREE], "unused, last use", VALID, UNLIMITED),
        (UNLIMITED, [FREE, FREE], "read, last use", VALID, UNLIMITED),
        (UNLIMITED, [JUST_USED], "read", Verdict(Code.VALID, JUST_USED), UNLIMITED),
        # The hint was wrong: a second call decides, and nothing is written after it.
        (None, [_not(BUSY), MORE], "unused, busy", TWO_LESS, NOW + 1_000_001),
        (NOW + 1, [_not(UNUSED), SPENT], "busy, unused", ONE_LESS, NOW + 1_000_000),
        (UNLIMITED, [UNUSED, SPENT], "read, unused", ONE_LESS, NOW + 1_000_000),
        (UNLIMITED, [BUSY, MORE], "read, busy", TWO_LESS, NOW + 1_000_001),
        (UNLIMITED, [replace(BUSY, tat=NOW), SPENT], "read, unused", ONE_LESS, NOW + 1_000_000),
        (None, [_not(BUSY), _not(FREE)], "unused, busy", VALID, UNLIMITED),
        (UNLIMITED, [UNUSED, _not(FREE)], "read, unused", VALID, UNLIMITED),
        (None, [_not(BUSY), _not(None)], "unused, busy", Verdict(Code.NOT_FOUND), None),
    ],
)
def test_admission_makes_exactly_these_table_calls(
    hint: int | None, answers: list[Any], calls: str, verdict: Verdict, remembered: int | None
) -> None:
    table: Any = Script(*answers)
    memory = _memory(hint)
    assert credentials.admit(table, KEY, memory, NOW) == verdict
    assert ", ".join(table.calls) == calls
    assert memory.recall(DIGEST) == remembered


def test_a_key_that_changes_between_both_calls_is_answered_503() -> None:
    table: Any = Script(_not(BUSY), _not(UNUSED))
    memory = Memory()
    with pytest.raises(Unavailable):
        credentials.admit(table, KEY, memory, NOW)
    assert table.calls == ["unused", "busy"]
    assert memory.recall(DIGEST) is None


def test_a_malformed_key_is_neither_admitted_nor_found() -> None:
    table: Any = Script()
    assert credentials.admit(table, KEY[:-1], Memory(), NOW) == Verdict(Code.NOT_FOUND)
    assert credentials.find(table, KEY[:-1]) is None
    assert table.calls == []


@pytest.mark.parametrize(
    "error", [ConditionFailed(None), TransactionConflict(), Unavailable("slow")]
)
def test_an_unwritten_last_use_changes_no_verdict(error: Exception) -> None:
    table: Any = Script(_not(FREE), error)
    assert credentials.admit(table, KEY, Memory(), NOW) == VALID
    assert table.calls == ["unused", "last use"]


@pytest.mark.parametrize("broken", [replace(FREE, tat=5), UNUSED])
def test_a_request_is_never_spent_of_a_key_without_a_limit(broken: Credential) -> None:
    table: Any = Script(broken)
    with pytest.raises(ValueError, match="without a limit"):
        credentials.admit(table, KEY, Memory(), NOW)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """The bounds of each drawn wait, then the longest wait that is slept."""
    drawn: list[tuple[float, float]] = []
    made: list[tuple[float, float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", draw)
    monkeypatch.setattr(time, "sleep", lambda slept: made.append((*drawn[-1], slept)))
    return made


WAIT = (0.5, 1, 0.015)


def test_a_conflict_is_tried_five_times_within_60_ms(waits: list[Any]) -> None:
    conflicts = [TransactionConflict() for _ in range(5)]
    table: Any = Script(*conflicts[:4], SPENT)
    assert credentials.admit(table, KEY, Memory(), NOW) == ONE_LESS
    assert (table.calls, waits) == (["unused"] * 5, [WAIT] * 4)
    waits.clear()
    table = Script(*conflicts)
    with pytest.raises(Unavailable):
        credentials.admit(table, KEY, Memory(), NOW)
    assert (table.calls, waits) == (["unused"] * 5, [WAIT] * 4)


def test_the_copy_of_an_owner_is_tried_five_times_too(waits: list[Any]) -> None:
    conflicts = [TransactionConflict() for _ in range(5)]
    table: Any = Script(*conflicts[:4], FREE)
    credentials.update_owner(table, DIGEST, owner=OWNER)
    assert (table.calls, waits) == (["owner"] * 5, [WAIT] * 4)
    waits.clear()
    table = Script(*conflicts)
    with pytest.raises(Unavailable):
        credentials.update_owner(table, DIGEST, owner=OWNER)
    assert (table.calls, waits) == (["owner"] * 5, [WAIT] * 4)


@pytest.mark.parametrize(("most", "given"), [(1, 1), (2, 2), (10_000, None)])
def test_the_memory_drops_the_key_remembered_longest_ago(most: int, given: int | None) -> None:
    memory = Memory() if given is None else Memory(given)
    for number in range(most):
        memory.remember(replace(FREE, digest=str(number)))
    assert memory.recall("0") == UNLIMITED == -1
    memory.remember(replace(FREE, digest="new"))
    assert memory.recall("0") is None
    assert memory.recall("new") == -1
    assert memory.recall("1") == (None if most == 1 else -1)


def test_a_key_remembered_again_is_dropped_last() -> None:
    memory = Memory(2)
    for digest in ("a", "b", "a", "c"):
        memory.remember(replace(UNUSED, digest=digest, tat=5))
    assert [memory.recall(digest) for digest in "abc"] == [5, None, 5]
    memory.remember(replace(UNUSED, digest="a", tat=None))
    assert memory.recall("a") == 5


class Batches:
    """Both tables, of which the looked-up items are read by key."""

    def batch_get_keys(self, pks: Sequence[str]) -> dict[str, Any]:
        assert pks == [f"KEY#{DIGEST}"]
        return {pks[0]: _item(JUST_USED)}


def test_other_rooms_read_credentials_through_these_actions() -> None:
    both: Any = Batches()
    assert credentials.find_many(both, [DIGEST]) == {DIGEST: JUST_USED}
    assert credentials.last_uses(both, [DIGEST]) == {DIGEST: NOW - MINUTE + 1}
    table: Any = Script(FREE, None)
    assert credentials.find(table, KEY) == FREE
    assert credentials.find(table, KEY) is None
    assert credentials.code_of(REVOKED, NOW) is Code.REVOKED
    assert credentials.hash_key(KEY) == DIGEST


@pytest.mark.parametrize(
    ("event", "in_headers", "on_socket"),
    [
        ({}, None, None),
        ({"headers": None, "queryStringParameters": None}, None, None),
        ({"headers": {"AUTHORIZATION": "Bearer a"}}, "a", "a"),
        ({"queryStringParameters": {"token": "q"}}, None, "q"),
        ({"headers": {"X-Api-Key": "a"}, "queryStringParameters": {"token": "q"}}, "a", "a"),
        ({"headers": {"X-Api-Key": ""}, "queryStringParameters": {"token": "q"}}, "", ""),
    ],
)
def test_headers_come_before_the_address_of_a_socket(
    event: dict[str, Any], in_headers: str | None, on_socket: str | None
) -> None:
    assert credentials.find_in_headers(event) == in_headers
    assert credentials.find_on_socket(event) == on_socket
