"""Rotation gives no second limit and no new burst; in its grace a key costs up to three calls."""

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
from support.actors.members import boss, change, key_of, member, seen_with
from support.actors.visitor import Visitor, key_request, visitor
from support.aws.faults import Wire, wire
from support.checks.inspection import check_everything

GRACE = 600
MOST_IN_GRACE = 3


@pytest.fixture
def who(tables: Tables) -> Visitor:
    return boss(tables)


def _make(who: Visitor, **fields: Any) -> Minted:
    return keys.create(who.tables, who.call(), key_request(**fields))


def _rotate(who: Visitor, key: Minted, grace: int = GRACE) -> Minted:
    return rotation.rotate(who.tables, who.call(), key.key.id, grace_seconds=grace, prefix="hk")


def _passed(who: Visitor, *texts: str, tries: int = 10) -> int:
    memory = Memory()
    verdicts = [who.admit(texts[turn % len(texts)], memory) for turn in range(tries)]
    return sum(verdict.code is Code.VALID for verdict in verdicts)


@pytest.mark.parametrize("grace", [0, GRACE])
@pytest.mark.parametrize(("limit", "spent"), [(3, 2), (1, 1), (60, 0), (5, 5)])
def test_a_successor_has_what_was_left_of_the_old_limit(
    who: Visitor, limit: int, spent: int, grace: int
) -> None:
    old = _make(who, rate_limit=limit)
    assert _passed(who, old.secret, tries=spent) == spent
    new = _rotate(who, old, grace)
    texts = [new.secret] + ([old.secret] if grace else [])
    assert _passed(who, *texts, tries=2 * limit) == limit - spent


@pytest.mark.parametrize("grace", [0, GRACE])
def test_rotating_again_and_again_passes_no_more_than_one_limit(who: Visitor, grace: int) -> None:
    key = _make(who, rate_limit=3)
    texts, passed = [key.secret], 0
    for _ in range(6):
        for text in texts:
            passed += _passed(who, text, tries=2)
        key = _rotate(who, key, grace)
        texts.append(key.secret)
    assert passed == 3


def test_rotating_an_old_key_again_ends_its_first_successor(who: Visitor) -> None:
    old = _make(who, rate_limit=3)
    warm = Memory()
    first = _rotate(who, old)
    assert who.admit(old.secret, warm).code is Code.VALID
    second = _rotate(who, old)
    assert who.admit(first.secret).code is Code.REVOKED
    texts = (old.secret, second.secret)
    assert [who.admit(text, warm).code for text in texts] == [Code.VALID, Code.VALID]
    assert _passed(who, *texts) == 0
    check_everything(who.tables, now=who.now)


@pytest.mark.parametrize("grace", [0, GRACE])
def test_at_most_one_predecessor_lives_in_a_grace(who: Visitor, grace: int) -> None:
    warm = Memory()
    first = _make(who)
    second = _rotate(who, first)
    assert who.admit(first.secret, warm).code is Code.VALID
    assert who.admit(first.secret, warm).code is Code.VALID
    third = _rotate(who, second, grace)
    assert who.admit(first.secret, warm).code is Code.REVOKED
    assert who.admit(first.secret).code is Code.REVOKED
    expected = Code.VALID if grace else Code.REVOKED
    assert who.admit(second.secret, warm).code is expected
    assert who.admit(third.secret, warm).code is Code.VALID
    check_everything(who.tables, now=who.now)


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
    who = visitor(tables)
    new = _make(who, rate_limit=limit)
    old, ends = None, 0
    memories = [Memory() for _ in range(4)]
    interval = -(-MINUTE // limit)
    tat = 0
    for environment, step, wait in steps:
        who.now += wait
        alive = old is not None and who.now < ends
        if step.startswith("rotate"):
            rotated = old if step == "rotate old" and old is not None and alive else new
            grace = 0 if step == "rotate at once" else 45
            ended_before = ends if rotated is old else None
            old, new = rotated, _rotate(who, rotated, grace)
            ends = who.now + grace * SECOND
            ends = min(ends, ended_before or ends)
            continue
        presented = old if step == "old" and old is not None else new
        with wire(tables.keys.client) as line:
            verdict = who.admit(presented.secret, memories[environment])
            assert len(line.calls) <= (MOST_IN_GRACE if presented is old else 2)
        if presented is old and not alive:
            assert verdict.code is Code.REVOKED
            continue
        ahead = max(tat, who.now) + interval - who.now
        if ahead > limit * interval:
            assert verdict.code is Code.RATE_LIMITED
        else:
            assert verdict.code is Code.VALID
            tat = who.now + ahead
            assert verdict.limit_state.remaining == limit - -(-ahead // interval)
    # Other examples' accounts are in the same tables, with clocks that went further.
    check_everything(tables, now=who.now + DAY)


def test_both_keys_together_pass_the_limit_exactly_in_parallel(who: Visitor) -> None:
    old = _make(who, rate_limit=50)
    new = _rotate(who, old)
    memories = [Memory() for _ in range(4)]

    def request(number: int) -> bool:
        text = (old, new)[number % 2].secret
        return who.admit(text, memories[number % 4]).code is Code.VALID

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(request, range(200))) == 50


def test_a_key_in_its_grace_costs_two_calls_and_one_where_it_is_remembered(
    who: Visitor, room_line: Wire
) -> None:
    old = _make(who, rate_limit=60)
    memory = Memory()
    who.admit(old.secret, memory)
    _rotate(who, old)
    counts = []
    for wait in (0, 0, 1, SECOND, 5 * MINUTE, 0):
        who.now += wait
        room_line.clear()
        assert who.admit(old.secret, memory).code is Code.VALID
        counts.append(len(room_line.calls))
    # The first guess about the successor is wrong: it took over a limit in use.
    assert counts == [3, 1, 1, 1, 1, 1]
    room_line.clear()
    assert who.admit(old.secret).code is Code.VALID
    assert len(room_line.calls) <= MOST_IN_GRACE


def test_a_key_without_a_limit_works_in_its_grace_by_one_read(
    who: Visitor, room_line: Wire
) -> None:
    old = _make(who, rate_limit=None)
    _rotate(who, old)
    memory = Memory()
    calls = []
    for wait in (0, 0, MINUTE, 0):
        who.now += wait
        room_line.clear()
        verdict = who.admit(old.secret, memory)
        assert (verdict.code, verdict.limit_state) == (Code.VALID, None)
        calls.append(list(room_line.calls))
    assert calls == [
        ["UpdateItem", "UpdateItem", "UpdateItem"],
        ["GetItem"],
        ["GetItem", "UpdateItem"],
        ["GetItem"],
    ]
    listed, _ = key_lists.page(who.tables, who.call(), KeyFilter.ALL, limit=10)
    used = {key.id: key.last_used_at for key in listed}
    assert used[old.key.id] == who.now


def test_an_old_key_acts_as_itself_with_its_own_grants(who: Visitor) -> None:
    old = _make(who, scopes=["services:read"], rate_limit=60)
    new = _rotate(who, old)
    memory = Memory()
    for _ in range(2):
        principal = who.admit(old.secret, memory).principal()
        assert principal.key_id == old.key.id
        assert principal.grants.scopes == ("services:read",)
    assert who.admit(new.secret, memory).principal().key_id == new.key.id


def _revoke(who: Visitor, key: Minted) -> None:
    keys.revoke(who.tables, who.call(), key.key.id)


def _disable(who: Visitor, key: Minted) -> None:
    keys.patch(who.tables, who.call(), key.key.id, KeyPatch(enabled=False))


def _expire(who: Visitor, key: Minted) -> None:
    keys.patch(who.tables, who.call(), key.key.id, KeyPatch(expires_at=who.now + 1))
    who.now += 1


@pytest.mark.parametrize(
    ("act", "code"),
    [(_revoke, Code.REVOKED), (_disable, Code.DISABLED), (_expire, Code.EXPIRED)],
)
@pytest.mark.parametrize("limit", [60, None])
def test_an_old_key_that_ends_in_its_grace_is_refused_on_the_next_request(
    who: Visitor, limit: int | None, act: Callable[[Visitor, Minted], None], code: Code
) -> None:
    old = _make(who, rate_limit=limit)
    new = _rotate(who, old)
    warm = Memory()
    for _ in range(2):
        assert who.admit(old.secret, warm).code is Code.VALID
    act(who, old)
    for memory in (warm, Memory()):
        assert who.admit(old.secret, memory).code is code
    assert who.admit(new.secret, warm).code is Code.VALID
    check_everything(who.tables, now=who.now)


def test_an_old_key_that_was_changed_is_read_again_and_works(who: Visitor, room_line: Wire) -> None:
    old = _make(who, rate_limit=60)
    _rotate(who, old)
    warm = Memory()
    for _ in range(2):
        who.admit(old.secret, warm)
    keys.patch(who.tables, who.call(), old.key.id, KeyPatch(name="renamed"))
    counts = []
    for _ in range(3):
        room_line.clear()
        assert who.admit(old.secret, warm).code is Code.VALID
        counts.append(len(room_line.calls))
    assert counts == [3, 2, 2]


def test_an_old_key_outlives_its_successor_and_ends_with_its_owner(who: Visitor) -> None:
    target = member(who)
    old = key_of(who, target, rate_limit=60)
    new = _rotate(who, old)
    warm = Memory()
    who.admit(old.secret, warm)
    _revoke(who, new)
    assert who.admit(new.secret, warm).code is Code.REVOKED
    assert who.admit(old.secret, warm).code is Code.VALID
    change(who, target, status="suspended")
    for memory in (warm, Memory()):
        assert who.admit(old.secret, memory).code is Code.DISABLED


def test_a_lower_ceiling_narrows_an_old_key_on_its_next_request(who: Visitor) -> None:
    target = member(who)
    old = key_of(who, target, rate_limit=60)
    _rotate(who, old)
    warm = Memory()
    for _ in range(2):
        who.admit(old.secret, warm)
    change(who, target, ceiling=Grants(("services:read",)))
    for memory in (warm, Memory()):
        assert who.admit(old.secret, memory).principal().grants.scopes == ("services:read",)


def test_verifying_an_old_key_spends_its_successors_requests(who: Visitor) -> None:
    old = _make(who, rate_limit=3)
    new = _rotate(who, old)
    memory = Memory()
    for text, code, remaining in (
        (old.secret, Code.VALID, 2),
        (new.secret, Code.VALID, 1),
        (old.secret, Code.VALID, 0),
        (old.secret, Code.RATE_LIMITED, 0),
        (new.secret, Code.RATE_LIMITED, 0),
    ):
        verified = verification.verify(who.tables, who.call(), text, KeyQuestion(), memory)
        assert (verified.code, verified.limit_state.remaining) == (code, remaining)


def test_rotation_counts_the_keys_that_it_ends(who: Visitor) -> None:
    def counted() -> int:
        item = who.tables.main.get({"pk": f"KEYS#{who.account_id}#COUNT", "sk": "COUNT"})
        return int(item["live"])

    first = _make(who)
    start = counted()
    second = _rotate(who, first)
    assert counted() == start + 1
    third = _rotate(who, second)
    assert counted() == start + 1, "one predecessor ended"
    fourth = _rotate(who, second)
    assert counted() == start + 1, "the first successor ended"
    _rotate(who, fourth, 0)
    assert counted() == start, "the key and its predecessor ended"
    assert who.admit(third.secret).code is Code.REVOKED


def test_a_key_records_the_key_that_created_or_rotated_it(who: Visitor) -> None:
    made = _make(who)
    holder = seen_with(who.tables, made, who.now)
    own = rotation.rotate(who.tables, holder.call(), made.key.id, grace_seconds=0, prefix="hk")
    others = _rotate(who, own, 0)
    parents = [key.key.parent for key in (who.minted, made, own, others)]
    assert parents == [None, who.principal.key_id, made.key.id, who.principal.key_id]
    for key in (who.minted, made, own, others):
        assert keys.find(who.tables, who.account_id, key.key.id).parent == key.key.parent
