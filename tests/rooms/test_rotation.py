"""Rotation gives no second limit and no new burst; in its grace a key costs up to four calls."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.grants import Grants
from gatehouse.credentials.actions import Memory
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyFilter, KeyPatch, Minted
from gatehouse.verification import actions as verification
from gatehouse.verification.model import KeyQuestion
from support.actors.members import change, key_of, member, visitor_with
from support.actors.visitor import Visitor, key_request, visitor
from support.aws.faults import Wire, wire
from support.checks.inspection import check_everything

GRACE = 600
MOST_IN_GRACE = 3


def _make(caller: Visitor, **fields: Any) -> Minted:
    return keys.create(caller.tables, caller.call(), key_request(**fields))


def _rotate(caller: Visitor, key: Minted, grace: int = GRACE) -> Minted:
    return rotation.rotate(
        caller.tables, caller.call(), key.key.id, grace_seconds=grace, prefix="hk"
    )


def _passed(caller: Visitor, *texts: str, tries: int = 10) -> int:
    memory = Memory()
    verdicts = [caller.admit(texts[turn % len(texts)], memory) for turn in range(tries)]
    return sum(verdict.code is Code.VALID for verdict in verdicts)


@pytest.mark.parametrize("grace", [0, GRACE])
@pytest.mark.parametrize(("limit", "spent"), [(3, 2), (1, 1), (60, 0), (5, 5)])
def test_a_successor_has_what_was_left_of_the_old_limit(
    caller: Visitor, limit: int, spent: int, grace: int
) -> None:
    old = _make(caller, rate_limit=limit)
    assert _passed(caller, old.secret, tries=spent) == spent
    new = _rotate(caller, old, grace)
    texts = [new.secret] + ([old.secret] if grace else [])
    assert _passed(caller, *texts, tries=2 * limit) == limit - spent


@pytest.mark.parametrize("grace", [0, GRACE])
def test_rotating_again_and_again_passes_no_more_than_one_limit(
    caller: Visitor, grace: int
) -> None:
    key = _make(caller, rate_limit=3)
    texts, passed = [key.secret], 0
    for _ in range(6):
        for text in texts:
            passed += _passed(caller, text, tries=2)
        key = _rotate(caller, key, grace)
        texts.append(key.secret)
    assert passed == 3


def test_rotating_an_old_key_again_ends_its_first_successor(caller: Visitor) -> None:
    old = _make(caller, rate_limit=3)
    warm = Memory()
    first = _rotate(caller, old)
    assert caller.admit(old.secret, warm).code is Code.VALID
    second = _rotate(caller, old)
    assert caller.admit(first.secret).code is Code.REVOKED
    texts = (old.secret, second.secret)
    assert [caller.admit(text, warm).code for text in texts] == [Code.VALID, Code.VALID]
    assert _passed(caller, *texts) == 0
    check_everything(caller.tables, now=caller.now)


@pytest.mark.parametrize("grace", [0, GRACE])
def test_at_most_one_predecessor_lives_in_a_grace(caller: Visitor, grace: int) -> None:
    warm = Memory()
    first = _make(caller)
    second = _rotate(caller, first)
    assert caller.admit(first.secret, warm).code is Code.VALID
    assert caller.admit(first.secret, warm).code is Code.VALID
    third = _rotate(caller, second, grace)
    assert caller.admit(first.secret, warm).code is Code.REVOKED
    assert caller.admit(first.secret).code is Code.REVOKED
    expected = Code.VALID if grace else Code.REVOKED
    assert caller.admit(second.secret, warm).code is expected
    assert caller.admit(third.secret, warm).code is Code.VALID
    check_everything(caller.tables, now=caller.now)


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["old", "new", "new", "rotate", "rotate at once", "rotate old"]),
        st.sampled_from([0, 0, 1, 999_999, SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 3 * MINUTE]),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(limit=st.sampled_from([1, 2, 3, 6, 60]), steps=steps)
def test_one_limit_is_exact_over_all_rotations_and_environments(
    tables: Tables, limit: int, steps: list[tuple[int, str, int]]
) -> None:
    """Compared with one GCRA for the whole line of keys, whichever of them is presented."""
    caller = visitor(tables)
    new = _make(caller, rate_limit=limit)
    old, ends = None, 0
    memories = [Memory() for _ in range(4)]
    interval = -(-MINUTE // limit)
    tat = 0
    for environment, step, wait in steps:
        caller.now += wait
        alive = old is not None and caller.now < ends
        if step.startswith("rotate"):
            rotated = old if step == "rotate old" and old is not None and alive else new
            grace = 0 if step == "rotate at once" else 45
            ended_before = ends if rotated is old else None
            old, new = rotated, _rotate(caller, rotated, grace)
            ends = caller.now + grace * SECOND
            ends = min(ends, ended_before or ends)
            continue
        presented = old if step == "old" and old is not None else new
        with wire(tables.keys.client) as line:
            verdict = caller.admit(presented.secret, memories[environment])
            assert len(line.calls) <= (MOST_IN_GRACE if presented is old else 2)
        if presented is old and not alive:
            assert verdict.code is Code.REVOKED
            continue
        ahead = max(tat, caller.now) + interval - caller.now
        if ahead > limit * interval:
            assert verdict.code is Code.RATE_LIMITED
        else:
            assert verdict.code is Code.VALID
            tat = caller.now + ahead
            assert verdict.limit_state.remaining == limit - -(-ahead // interval)
    # Other examples' accounts are in the same tables, with clocks that went further.
    check_everything(tables, now=caller.now + DAY)


def test_both_keys_together_pass_the_limit_exactly_in_parallel(caller: Visitor) -> None:
    old = _make(caller, rate_limit=50)
    new = _rotate(caller, old)
    memories = [Memory() for _ in range(4)]

    def request(number: int) -> bool:
        text = (old, new)[number % 2].secret
        return caller.admit(text, memories[number % 4]).code is Code.VALID

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(request, range(200))) == 50


def test_a_key_in_its_grace_costs_two_calls_and_one_where_it_is_remembered(
    caller: Visitor, room_line: Wire
) -> None:
    old = _make(caller, rate_limit=60)
    memory = Memory()
    caller.admit(old.secret, memory)
    _rotate(caller, old)
    counts = []
    for wait in (0, 0, 1, SECOND, 5 * MINUTE, 0):
        caller.now += wait
        room_line.clear()
        assert caller.admit(old.secret, memory).code is Code.VALID
        counts.append(len(room_line.calls))
    # The first guess about the successor is wrong: it took over a limit in use.
    assert counts == [3, 1, 1, 1, 1, 1]
    room_line.clear()
    assert caller.admit(old.secret).code is Code.VALID
    assert len(room_line.calls) <= MOST_IN_GRACE


def test_a_key_without_a_limit_works_in_its_grace_by_one_read(
    caller: Visitor, room_line: Wire
) -> None:
    old = _make(caller, rate_limit=None)
    _rotate(caller, old)
    memory = Memory()
    calls = []
    for wait in (0, 0, MINUTE, 0):
        caller.now += wait
        room_line.clear()
        verdict = caller.admit(old.secret, memory)
        assert (verdict.code, verdict.limit_state) == (Code.VALID, None)
        calls.append(list(room_line.calls))
    assert calls == [
        ["UpdateItem", "UpdateItem", "UpdateItem"],
        ["GetItem"],
        ["GetItem", "UpdateItem"],
        ["GetItem"],
    ]
    listed, _ = key_lists.page(caller.tables, caller.call(), KeyFilter.ALL, limit=10)
    used = {key.id: key.last_used_at for key in listed}
    assert used[old.key.id] == caller.now


def test_an_old_key_acts_as_itself_with_its_own_grants(caller: Visitor) -> None:
    old = _make(caller, scopes=["services:read"], rate_limit=60)
    new = _rotate(caller, old)
    memory = Memory()
    for _ in range(2):
        principal = caller.admit(old.secret, memory).principal()
        assert principal.key_id == old.key.id
        assert principal.grants.scopes == ("services:read",)
    assert caller.admit(new.secret, memory).principal().key_id == new.key.id


def _revoke(caller: Visitor, key: Minted) -> None:
    keys.revoke(caller.tables, caller.call(), key.key.id)


def _disable(caller: Visitor, key: Minted) -> None:
    keys.patch(caller.tables, caller.call(), key.key.id, KeyPatch(enabled=False))


def _expire(caller: Visitor, key: Minted) -> None:
    keys.patch(caller.tables, caller.call(), key.key.id, KeyPatch(expires_at=caller.now + 1))
    caller.now += 1


@pytest.mark.parametrize(
    ("act", "code"),
    [(_revoke, Code.REVOKED), (_disable, Code.DISABLED), (_expire, Code.EXPIRED)],
)
@pytest.mark.parametrize("limit", [60, None])
def test_an_old_key_that_ends_in_its_grace_is_refused_on_the_next_request(
    caller: Visitor, limit: int | None, act: Callable[[Visitor, Minted], None], code: Code
) -> None:
    old = _make(caller, rate_limit=limit)
    new = _rotate(caller, old)
    warm = Memory()
    for _ in range(2):
        assert caller.admit(old.secret, warm).code is Code.VALID
    act(caller, old)
    for memory in (warm, Memory()):
        assert caller.admit(old.secret, memory).code is code
    assert caller.admit(new.secret, warm).code is Code.VALID
    check_everything(caller.tables, now=caller.now)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        (KeyPatch(name="renamed"), [1, 1, 1]),
        (KeyPatch(metadata={"a": 1}), [1, 1, 1]),
        (KeyPatch(rate_limit=30), [1, 1, 1]),
        (KeyPatch(expires_at=2**53), [3, 2, 2]),
    ],
)
def test_an_old_key_is_read_again_only_after_a_change_that_decides(
    caller: Visitor, room_line: Wire, patch: KeyPatch, expected: list[int]
) -> None:
    old = _make(caller, rate_limit=60)
    _rotate(caller, old)
    warm = Memory()
    for _ in range(2):
        caller.admit(old.secret, warm)
    keys.patch(caller.tables, caller.call(), old.key.id, patch)
    counts = []
    for _ in range(3):
        room_line.clear()
        assert caller.admit(old.secret, warm).code is Code.VALID
        counts.append(len(room_line.calls))
    assert counts == expected


def test_the_most_calls_of_an_old_key_are_four_right_after_a_change(
    caller: Visitor, room_line: Wire
) -> None:
    """It was changed, and another environment spends between the calls of this one."""
    old = _make(caller, rate_limit=60)
    new = _rotate(caller, old)
    warm = Memory()
    for _ in range(2):
        caller.admit(old.secret, warm)
    caller.now += MINUTE
    keys.patch(caller.tables, caller.call(), old.key.id, KeyPatch(expires_at=2**53))

    def spend_elsewhere(number: int, _: str) -> None:
        if number == MOST_IN_GRACE:
            room_line.before = None
            caller.admit(new.secret, Memory())

    room_line.clear()
    room_line.before = spend_elsewhere
    assert caller.admit(old.secret, warm).code is Code.VALID
    by_another = 1
    assert len(room_line.calls) == MOST_IN_GRACE + 1 + by_another


def test_an_old_key_outlives_its_successor_and_ends_with_its_owner(caller: Visitor) -> None:
    target = member(caller)
    old = key_of(caller, target, rate_limit=60)
    new = _rotate(caller, old)
    warm = Memory()
    caller.admit(old.secret, warm)
    _revoke(caller, new)
    assert caller.admit(new.secret, warm).code is Code.REVOKED
    assert caller.admit(old.secret, warm).code is Code.VALID
    change(caller, target, status="suspended")
    for memory in (warm, Memory()):
        assert caller.admit(old.secret, memory).code is Code.DISABLED


def test_a_lower_ceiling_narrows_an_old_key_on_its_next_request(caller: Visitor) -> None:
    target = member(caller)
    old = key_of(caller, target, rate_limit=60)
    _rotate(caller, old)
    warm = Memory()
    for _ in range(2):
        caller.admit(old.secret, warm)
    change(caller, target, ceiling=Grants(("services:read",)))
    for memory in (warm, Memory()):
        assert caller.admit(old.secret, memory).principal().grants.scopes == ("services:read",)


def test_verifying_an_old_key_spends_its_successors_requests(caller: Visitor) -> None:
    old = _make(caller, rate_limit=3)
    new = _rotate(caller, old)
    memory = Memory()
    for text, code, remaining in (
        (old.secret, Code.VALID, 2),
        (new.secret, Code.VALID, 1),
        (old.secret, Code.VALID, 0),
        (old.secret, Code.RATE_LIMITED, 0),
        (new.secret, Code.RATE_LIMITED, 0),
    ):
        verified = verification.verify(caller.tables, caller.call(), text, KeyQuestion(), memory)
        assert (verified.code, verified.limit_state.remaining) == (code, remaining)


def test_rotation_counts_the_keys_that_it_ends(caller: Visitor) -> None:
    def counted() -> int:
        item = caller.tables.main.get({"pk": f"KEYS#{caller.account_id}#COUNT", "sk": "COUNT"})
        return int(item["live"])

    first = _make(caller)
    start = counted()
    second = _rotate(caller, first)
    assert counted() == start + 1
    third = _rotate(caller, second)
    assert counted() == start + 1, "one predecessor ended"
    fourth = _rotate(caller, second)
    assert counted() == start + 1, "the first successor ended"
    _rotate(caller, fourth, 0)
    assert counted() == start, "the key and its predecessor ended"
    assert caller.admit(third.secret).code is Code.REVOKED


def test_a_key_records_the_key_that_created_or_rotated_it(caller: Visitor) -> None:
    made = _make(caller)
    holder = visitor_with(caller.tables, made, caller.now)
    own = rotation.rotate(caller.tables, holder.call(), made.key.id, grace_seconds=0, prefix="hk")
    others = _rotate(caller, own, 0)
    parents = [key.key.parent for key in (caller.minted, made, own, others)]
    assert parents == [None, caller.principal.key_id, made.key.id, caller.principal.key_id]
    for key in (caller.minted, made, own, others):
        assert keys.find(caller.tables, caller.account_id, key.key.id).parent == key.key.parent
