"""A crash at every call to the tables, before it and after it, leaves nothing half done.

After each crash both items of every key agree, every change has its audit event and every event
its change, the chain verifies, and sending the same request again succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.accounts import actions as accounts
from gatehouse.audit import sweep
from gatehouse.core.clock import SECOND
from gatehouse.core.errors import Conflict, IdempotencyReused, NotFound
from gatehouse.core.request import Call
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyFilter, KeyPatch
from support.actors.visitor import Visitor, key_request, visitor
from support.aws.faults import Killed, Wire, conflict_in_transaction, die_at, error, first
from support.checks.inspection import State, check_everything

Act = Callable[[Visitor, str], Any]
MOST_CALLS = 30


def _create(caller: Visitor, _: str) -> Any:
    return keys.create(caller.tables, caller.call(), key_request())


def _rotate(caller: Visitor, key_id: str) -> Any:
    return rotation.rotate(caller.tables, caller.call(), key_id, grace_seconds=0, prefix="hk")


def _rotate_with_grace(caller: Visitor, key_id: str) -> Any:
    return rotation.rotate(caller.tables, caller.call(), key_id, grace_seconds=60, prefix="hk")


def _revoke(caller: Visitor, key_id: str) -> Any:
    return keys.revoke(caller.tables, caller.call(), key_id)


def _patch(caller: Visitor, key_id: str) -> Any:
    patch = KeyPatch("new", enabled=False, rate_limit=7, expires_at=caller.now + SECOND)
    return keys.patch(caller.tables, caller.call(), key_id, patch)


def _open(caller: Visitor, _: str) -> Any:
    call = Call(request_id="request-open", now=caller.now)
    return accounts.open_account(caller.tables, call, name="Other", prefix="hk")


ACTIONS = [_create, _rotate, _rotate_with_grace, _revoke, _patch, _open]
# They take effect in a first transaction; their events follow. The patch disables the key.
ENDINGS = [_revoke, _patch]


def _named(act: Act) -> str:
    return act.__name__.strip("_").replace("_", " ")


def _dies(room_line: Wire, when: str, act: Act, caller: Visitor, key_id: str, number: int) -> bool:
    """Act and crash at call `number`; False if it has fewer calls, so that it was done."""
    room_line.clear()
    setattr(room_line, when, die_at(number))
    try:
        act(caller, key_id)
    except Killed:
        return True
    finally:
        room_line.clear()
    return False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("act", ACTIONS, ids=_named)
def test_a_crash_at_any_call_leaves_all_or_nothing_and_a_repeat_works(
    tables: Tables, room_line: Wire, act: Act, when: str
) -> None:
    died_at = []
    for number in range(1, MOST_CALLS):
        caller = visitor(tables)
        target = keys.create(tables, caller.call(), key_request())
        before = State(tables)
        if not _dies(room_line, when, act, caller, target.key.id, number):
            break
        died_at.append(number)
        after = check_everything(tables, now=caller.now)
        changed = after.main != before.main
        assert changed == (after.looked_up != before.looked_up)
        assert act in ENDINGS or not (changed and when == "before")
        try:
            act(caller, target.key.id)
        except NotFound:
            assert changed
            assert act in {_revoke, _rotate}, "only these cannot be repeated"
            assert caller.admit(target.secret).code is Code.REVOKED
        sweep.sweep(tables.main, now=caller.now)
        assert check_everything(tables, now=caller.now).endings(caller.account_id) == []
    assert len(died_at) >= 2, "it must crash at two calls or more"
    assert died_at == list(range(1, len(died_at) + 1))


@pytest.mark.parametrize("act", [one for one in ACTIONS if one not in ENDINGS], ids=_named)
def test_only_the_last_call_writes(tables: Tables, room_line: Wire, act: Act) -> None:
    """One transaction as the last call: this is why a crash leaves all or nothing."""
    caller = visitor(tables)
    target = keys.create(tables, caller.call(), key_request()).key
    room_line.clear()
    act(caller, target.id)
    reads = {"GetItem", "BatchGetItem", "Query"}
    assert set(room_line.calls[:-1]) <= reads
    assert room_line.calls[-1] == "TransactWriteItems"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_with_an_idempotency_key_never_creates_twice(
    tables: Tables, room_line: Wire, when: str
) -> None:
    for number in range(1, MOST_CALLS):
        caller = visitor(tables)
        before = len(key_lists.page(tables, caller.call(), KeyFilter.ALL, limit=100)[0])

        def act(visit: Visitor, _: str) -> Any:
            return keys.create(visit.tables, visit.call(token="once"), key_request())

        if not _dies(room_line, when, act, caller, "", number):
            break
        with_repeat = []
        for _ in range(2):
            try:
                with_repeat.append(act(caller, ""))
            except IdempotencyReused as reused:
                made = keys.get(tables, caller.call(), reused.details["id"])
                assert made.name == "made"
        assert len(with_repeat) <= 1
        after = len(key_lists.page(tables, caller.call(), KeyFilter.ALL, limit=100)[0])
        assert after == before + 1
        check_everything(tables, now=caller.now)
    else:
        pytest.fail(f"it still makes more than {MOST_CALLS} calls")


@pytest.mark.parametrize("act", ACTIONS, ids=_named)
def test_conflicts_with_other_transactions_are_retried(
    tables: Tables, room_line: Wire, sleeps: list[float], act: Act
) -> None:
    for fault in (
        lambda: error("TransactionConflictException"),
        lambda: conflict_in_transaction(7),
    ):
        caller = visitor(tables)
        target = keys.create(tables, caller.call(), key_request()).key
        room_line.before = first(7, fault, "TransactWriteItems")
        act(caller, target.id)
        room_line.clear()
        check_everything(tables, now=caller.now)
    assert len(sleeps) == 14


def test_two_rotations_at_once_create_one_successor(tables: Tables, room_line: Wire) -> None:
    """The second rotation runs between the first one's read and its write."""
    caller = visitor(tables)
    target = keys.create(tables, caller.call(), key_request()).key

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            _rotate(caller, target.id)

    room_line.before = before_the_write
    with pytest.raises(NotFound):
        _rotate(caller, target.id)
    check_everything(tables, now=caller.now)


def test_a_patch_reads_a_key_again_that_changed_meanwhile(tables: Tables, room_line: Wire) -> None:
    caller = visitor(tables)
    minted = keys.create(tables, caller.call(), key_request())

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            keys.patch(tables, caller.call(), minted.key.id, KeyPatch(enabled=False))

    room_line.before = before_the_write
    patched = keys.patch(tables, caller.call(), minted.key.id, KeyPatch(name="renamed"))
    assert (patched.name, patched.enabled) == ("renamed", False)
    assert caller.admit(minted.secret).code is Code.DISABLED
    check_everything(tables, now=caller.now)


def test_an_owner_suspended_while_a_key_is_created_gets_no_key(
    tables: Tables, room_line: Wire
) -> None:
    caller = visitor(tables)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            tables.main.client.update_item(
                TableName=tables.main.name,
                Key={
                    "pk": {"S": f"IDENTITY#{caller.account_id}"},
                    "sk": {"S": caller.principal.identity_id},
                },
                UpdateExpression="SET membership = :m, version = version + :one",
                ExpressionAttributeValues={":m": {"S": "suspended"}, ":one": {"N": "1"}},
            )

    room_line.before = before_the_write
    with pytest.raises(Conflict):
        keys.create(tables, caller.call(), key_request())
    check_everything(tables, now=caller.now)
