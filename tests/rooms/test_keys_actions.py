"""Keys: the bound of live keys, lists, who sees which key, and what happens on table errors."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gatehouse.core.clock import DAY, SECOND
from gatehouse.core.errors import BoundReached, NotFound, Unavailable
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code
from gatehouse.dynamo import counters
from gatehouse.dynamo.table import ConditionFailed, Tables, marshal
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import rotation, rules, store
from gatehouse.keys.model import MOST_LIVE, Key, KeyFilter, KeyPatch
from support.actors.visitor import Visitor, key_request, visitor
from support.aws.faults import Wire, error, first, no_answer
from support.checks.inspection import check_everything


def _fill(caller: Visitor, *, forever: int, expiring: int) -> list[Key]:
    """Write keys of the account up to that many in all, and set the counter. No transactions."""
    template = keys.create(caller.tables, caller.call(), key_request()).key
    existing = counters.read(caller.tables.main, f"KEYS#{caller.account_id}")
    made = []
    for number in range(forever + expiring - existing):
        expires_at = caller.now + DAY if number < expiring else None
        bare = f"{template.id[:-4]}{number:04x}"
        made.append(replace(template, id=bare, digest=f"{number:064x}", expires_at=expires_at))
    client = caller.tables.main.client
    puts = [{"PutRequest": {"Item": marshal(store.to_item(key))}} for key in made]
    for start in range(0, len(puts), 25):
        client.batch_write_item(RequestItems={caller.tables.main.name: puts[start : start + 25]})
    pk = f"KEYS#{caller.account_id}"
    seen = caller.tables.main.get({"pk": f"{pk}#COUNT", "sk": "COUNT"})
    assert seen is not None
    counters.correct(caller.tables.main, pk, seen=seen, to=forever + expiring)
    return made


def _live(caller: Visitor) -> int:
    return sum(
        rules.is_listed(key, KeyFilter.LIVE, caller.now)
        for key in store.read_all(caller.tables.main, caller.account_id)
    )


def test_an_account_has_at_most_1000_live_keys(tables: Tables) -> None:
    caller = visitor(tables)
    _fill(caller, forever=MOST_LIVE - 1, expiring=0)
    last = keys.create(tables, caller.call(), key_request())
    assert _live(caller) == MOST_LIVE
    for attempt in (
        lambda: keys.create(tables, caller.call(), key_request()),
        lambda: rotation.rotate(tables, caller.call(), last.key.id, grace_seconds=60, prefix="hk"),
    ):
        with pytest.raises(BoundReached) as refused:
            attempt()
        assert refused.value.status == 409
    assert _live(caller) == MOST_LIVE
    new = rotation.rotate(tables, caller.call(), last.key.id, grace_seconds=0, prefix="hk")
    keys.revoke(tables, caller.call(), new.key.id)
    keys.create(tables, caller.call(), key_request())
    with pytest.raises(BoundReached):
        keys.create(tables, caller.call(), key_request())
    assert _live(caller) == MOST_LIVE


def test_at_the_bound_expired_keys_are_not_counted_as_live(tables: Tables) -> None:
    caller = visitor(tables)
    _fill(caller, forever=MOST_LIVE - 300, expiring=300)
    with pytest.raises(BoundReached):
        keys.create(tables, caller.call(), key_request())
    caller.now += DAY
    keys.create(tables, caller.call(), key_request())
    assert (
        counters.read(tables.main, f"KEYS#{caller.account_id}") == _live(caller) == MOST_LIVE - 299
    )


def test_extending_an_expired_key_counts_it_and_respects_the_bound(tables: Tables) -> None:
    caller = visitor(tables)
    made = keys.create(tables, caller.call(), key_request(expires_at=caller.now + SECOND))
    _fill(caller, forever=MOST_LIVE, expiring=0)
    caller.now += SECOND
    keys.create(tables, caller.call(), key_request())  # recounts, and is the last one allowed
    with pytest.raises(BoundReached):
        keys.patch(tables, caller.call(), made.key.id, KeyPatch(expires_at=None))
    keys.patch(tables, caller.call(), made.key.id, KeyPatch(name="still expired"))


def test_revoking_an_expired_key_does_not_lower_the_counter(tables: Tables) -> None:
    caller = visitor(tables)
    made = keys.create(tables, caller.call(), key_request(expires_at=caller.now + SECOND))
    caller.now += SECOND
    counted = counters.read(tables.main, f"KEYS#{caller.account_id}")
    keys.revoke(tables, caller.call(), made.key.id)
    assert counters.read(tables.main, f"KEYS#{caller.account_id}") == counted
    check_everything(tables, now=caller.now)


def test_one_list_call_reads_at_most_about_1000_keys_and_paging_ends(
    tables: Tables, room_line: Wire
) -> None:
    caller = visitor(tables)
    _fill(caller, forever=2, expiring=1_300)
    caller.now += DAY
    pages, after = [], None
    while True:
        room_line.clear()
        found, after = key_lists.page(tables, caller.call(), KeyFilter.LIVE, limit=100, after=after)
        assert room_line.calls.count("Query") <= 11
        pages.append(found)
        if after is None:
            break
    assert len(pages) == 2
    shown = [key.id for page in pages for key in page]
    assert len(shown) == len(set(shown)) == 2


def test_pages_of_any_size_show_every_key_once_in_order(tables: Tables) -> None:
    caller = visitor(tables)
    made = [keys.create(tables, caller.call(), key_request(name=str(n))).key.id for n in range(7)]
    for dead in made[1::2]:
        keys.revoke(tables, caller.call(), dead)
    alive = [caller.minted.key.id, *made]
    for which, newest_first, limit in product(KeyFilter, (True, False), (1, 2, 3, 7, 100)):
        expected = sorted(alive if which is KeyFilter.ALL else set(alive) - set(made[1::2]))
        seen: list[str] = []
        after = None
        while True:
            page, after = key_lists.page(
                tables, caller.call(), which, limit=limit, after=after, newest_first=newest_first
            )
            assert len(page) <= limit
            seen += [key.id for key in page]
            if after is None:
                break
        assert seen == (expected[::-1] if newest_first else expected)


def test_unprocessed_keys_of_a_batch_are_read_again_then_503(
    tables: Tables, room_line: Wire
) -> None:
    caller = visitor(tables)
    left = 2

    def some_unread(_: int, operation: str) -> object:
        nonlocal left
        if operation != "BatchGetItem" or left == 0:
            return None
        left -= 1
        wanted = {"Keys": [{"pk": {"S": f"KEY#{caller.minted.key.digest}"}}]}
        http, _ = error("none", 200)
        return http, {"Responses": {}, "UnprocessedKeys": {tables.keys.name: wanted}}

    room_line.before = some_unread
    assert (
        key_lists.page(tables, caller.call(), KeyFilter.ALL, limit=10)[0][0].last_used_at
        == caller.now
    )
    left = 99
    with pytest.raises(Unavailable):
        key_lists.page(tables, caller.call(), KeyFilter.ALL, limit=10)


def test_a_failing_table_is_503_and_nothing_is_written(
    tables: Tables, room_line: Wire, sleeps: list[float]
) -> None:
    caller = visitor(tables)
    for fault in (
        no_answer,
        lambda: error("ThrottlingException"),
        lambda: error(
            "TransactionCanceledException",
            CancellationReasons=[{"Code": "None"}, {"Code": "ThrottlingError"}],
        ),
        lambda: error(
            "TransactionCanceledException",
            CancellationReasons=[{"Code": "ProvisionedThroughputExceeded"}],
        ),
    ):
        room_line.before = first(1, fault, "TransactWriteItems")
        with pytest.raises(Unavailable):
            keys.create(tables, caller.call(), key_request())
    assert sleeps == []
    state = check_everything(tables, now=caller.now)
    assert len(state.owned) == 1


def test_32_transaction_conflicts_in_a_row_are_503(
    tables: Tables, room_line: Wire, sleeps: list[float]
) -> None:
    caller = visitor(tables)
    conflict = lambda: error("TransactionConflictException")  # noqa: E731
    room_line.clear()
    room_line.before = first(32, conflict, "TransactWriteItems")
    with pytest.raises(Unavailable):
        keys.create(tables, caller.call(), key_request())
    assert room_line.calls.count("TransactWriteItems") == 32
    assert all(wait <= 0.08 for wait in sleeps)
    check_everything(tables, now=caller.now)


def test_a_caller_who_is_not_an_admin_finds_only_their_own_keys(tables: Tables) -> None:
    caller = visitor(tables)
    made = keys.create(tables, caller.call(), key_request())
    other = replace(
        caller,
        principal=replace(
            caller.principal, is_admin=False, identity_id="0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
        ),
    )
    for act in (
        lambda: keys.get(tables, other.call(), made.key.id),
        lambda: keys.revoke(tables, other.call(), made.key.id),
        lambda: keys.patch(tables, other.call(), made.key.id, KeyPatch()),
        lambda: rotation.rotate(tables, other.call(), made.key.id, grace_seconds=0, prefix="hk"),
    ):
        with pytest.raises(NotFound):
            act()
    assert caller.admit(made.secret).code is Code.VALID


def test_a_counter_that_went_down_and_up_again_is_not_corrected(tables: Tables) -> None:
    """While live keys are recounted, one key is created and one revoked: the number is the same."""
    caller = visitor(tables)
    pk = f"KEYS#{caller.account_id}"
    seen = tables.main.get({"pk": f"{pk}#COUNT", "sk": "COUNT"})
    assert seen is not None
    made = keys.create(tables, caller.call(), key_request()).key
    keys.revoke(tables, caller.call(), made.id)
    assert counters.read(tables.main, pk) == seen["live"]

    with pytest.raises(ConditionFailed):
        counters.correct(tables.main, pk, seen=seen, to=0)


def test_a_revoked_key_is_refused_by_an_authorizer_whose_clock_is_slow(tables: Tables) -> None:
    caller = visitor(tables)
    minted = keys.create(tables, caller.call(), key_request())
    keys.revoke(tables, caller.call(), minted.key.id)

    behind = caller.now - 10 * SECOND
    verdict = credentials.admit(tables.keys, minted.secret, credentials.Memory(), behind)
    assert verdict.code is Code.REVOKED
