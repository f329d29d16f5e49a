"""The sweep of endings: every account gets its events, however busy another one is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gatehouse.audit import endings, sweep
from gatehouse.audit.model import MOST_WRITES, Change, Origin
from gatehouse.core.clock import MINUTE
from gatehouse.core.errors import RateLimited, Unavailable
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys.model import KeyPatch
from gatehouse.revocation import actions as revocation
from support.actors.members import (
    member,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor, key_request
from support.aws.busy_chain import busy_chain, conflict
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_invariants


@pytest.fixture
def busy(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> Callable[[], None]:
    """Make the chain so busy that nobody else moves its head; call the value to start."""
    del sleeps

    def start() -> None:
        monkeypatch.setattr(caller.tables.main.client, "transact_write_items", busy_chain(caller))

    return start


@pytest.mark.parametrize(("many", "transactions"), [(49, 1), (50, 2)])
def test_many_endings_of_one_account_are_recorded_together(
    caller: Visitor,
    busy: Callable[[], None],
    room_line: Wire,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    transactions: int,
) -> None:
    """Each has two writes; with the counter and the head, 49 have the most of a transaction."""
    made = [keys.create(caller.tables, caller.call(), key_request()).key.id for _ in range(many)]
    busy()
    for key_id in made:
        caller.now += 1_000  # ids sort by milliseconds
        keys.revoke(caller.tables, caller.call(), key_id)
    monkeypatch.undo()
    room_line.clear()
    assert sweep.sweep(caller.tables.main, now=caller.now) == many
    assert room_line.calls.count("TransactWriteItems") == transactions
    state = check_invariants(caller.tables, now=caller.now)
    targets = [event["target"] for event in state.events(caller.account_id)[-many:]]
    assert targets == [f"api_key:{key_id}" for key_id in made], "in the order of their effect"
    assert sweep.sweep(caller.tables.main, now=caller.now) == 0


def test_waiting_endings_of_large_families_are_recorded(
    caller: Visitor, busy: Callable[[], None], room_line: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = keys.create(caller.tables, caller.call(), key_request())
    holder = visitor_with(caller.tables, root, caller.now)
    for _ in range(95):
        keys.create(caller.tables, holder.call(), key_request())
    busy()
    revocation.revoke(caller.tables, caller.call(), root.key.id, descendants=True)
    monkeypatch.undo()
    room_line.clear()
    assert sweep.sweep(caller.tables.main, now=caller.now) == 11
    assert room_line.calls.count("TransactWriteItems") == 2, "eight of twelve writes, and the rest"
    assert check_invariants(caller.tables, now=caller.now).endings(caller.account_id) == []


def test_endings_with_large_events_are_recorded_in_parts(
    caller: Visitor, busy: Callable[[], None], room_line: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = caller.tables.main
    change = Change("thing.end", "thing:1", before={"text": "x" * 300_000})
    busy()
    for number in range(6):
        key = {"pk": f"THING#{caller.account_id}", "sk": str(number)}
        endings.end(
            table,
            caller.account_id,
            writes={"thing": table.put_new(key)},
            changes=[change],
            origin=Origin.of(caller.call()),
            now=caller.now,
        )
    monkeypatch.undo()
    room_line.clear()
    assert sweep.sweep(table, now=caller.now) == 6
    assert room_line.calls.count("TransactWriteItems") == 2
    assert State(caller.tables).endings(caller.account_id) == []


def test_an_ending_that_cannot_be_recorded_delays_no_other_of_its_chain(
    caller: Visitor, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = caller.tables.main
    busy()
    for target in ("thing:0", "thing:bad", "thing:2"):
        caller.now += 1_000  # ids sort by milliseconds
        endings.end(
            table,
            caller.account_id,
            writes={"thing": table.put_new({"pk": target, "sk": "THING"})},
            changes=[Change("thing.end", target)],
            origin=Origin.of(caller.call()),
            now=caller.now,
        )
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        real = table.client.transact_write_items

        def refusing(**request: Any) -> Any:
            if "thing:bad" in str(request):
                error = {"Error": {"Code": "ValidationException", "Message": "too large"}}
                raise ClientError(error, "TransactWriteItems")
            return real(**request)

        patched.setattr(table.client, "transact_write_items", refusing)
        with pytest.raises(ClientError):
            sweep.sweep(table, now=caller.now)
    state = State(caller.tables)
    targets = [event["target"] for event in state.events(caller.account_id)[-2:]]
    assert targets == ["thing:0", "thing:2"]
    assert len(state.endings(caller.account_id)) == 1
    assert sweep.sweep(table, now=caller.now) == 1


def test_endings_without_their_counter_are_recorded_and_the_defect_is_logged(
    caller: Visitor, logs: io.StringIO
) -> None:
    table = caller.tables.main
    ended, missing = ({"pk": "THING#1", "sk": sk} for sk in "ab")
    for key in (ended, missing):
        endings.end(
            table,
            caller.account_id,
            writes={"thing": table.put_new(key)},
            changes=[Change("thing.end", "thing:1")],
            counts={"THING#1": 1},
            origin=Origin.of(caller.call()),
            now=caller.now,
        )
    state = State(caller.tables)
    assert state.endings(caller.account_id) == []
    assert [one["action"] for one in state.events(caller.account_id)[-2:]] == ["thing.end"] * 2
    lines = [json.loads(text) for text in logs.getvalue().splitlines()]
    assert [(one["message"], one["counter"]) for one in lines] == [
        ("counter_missing", "THING#1")
    ] * 2


def test_a_member_beyond_the_limit_still_ends_but_leaves_the_event_to_the_sweeper(
    caller: Visitor,
) -> None:
    who = member(caller)
    made = keys.create(who.tables, who.call(), key_request(rate_limit=1_000))
    for number in range(MOST_WRITES + 1):
        patch = KeyPatch(rate_limit=999 - number)
        keys.patch(who.tables, who.call(), made.key.id, patch)
        # The key's creation is counted too.
        waiting = State(caller.tables).endings(caller.account_id)
        assert len(waiting) == max(0, number + 2 - MOST_WRITES)
    with pytest.raises(RateLimited):
        keys.create(who.tables, who.call(), key_request())
    keys.revoke(who.tables, who.call(), made.key.id)
    assert caller.admit(made.secret).code is Code.REVOKED
    assert sweep.sweep(caller.tables.main, now=caller.now) == 3
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.usefixtures("sleeps")
def test_an_account_with_many_endings_and_a_busy_chain_delays_no_other(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud, quiet = unlimited_admin(tables), unlimited_admin(tables)
    made = keys.create(tables, loud.call(), key_request(rate_limit=60_000))
    mine = keys.create(tables, quiet.call(), key_request())
    with monkeypatch.context() as busy:
        busy.setattr(tables.main.client, "transact_write_items", busy_chain(loud))
        for number in range(210):
            patch = KeyPatch(rate_limit=59_999 - number)
            keys.patch(tables, loud.call(), made.key.id, patch)
        keys.revoke(tables, quiet.call(), mine.key.id)
    real = tables.main.client.transact_write_items

    def slow_for_loud(**request: Any) -> Any:
        if loud.account_id in str(request) and "HEAD" in str(request):
            seconds[0] += 3
            raise conflict(3)
        return real(**request)

    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    monkeypatch.setattr("random.shuffle", lambda _: None)  # the older account is the first
    monkeypatch.setattr(tables.main.client, "transact_write_items", slow_for_loud)
    with pytest.raises(Unavailable):
        sweep.sweep(tables.main, now=quiet.now)
    state = State(tables)
    assert [len(state.endings(one.account_id)) for one in (loud, quiet)] == [210, 0]
    monkeypatch.undo()
    assert sweep.sweep(tables.main, now=quiet.now) == 210, "two turns"
    assert State(tables).endings(loud.account_id) == []


def test_an_account_is_swept_until_no_function_can_still_end_something(
    caller: Visitor, room_line: Wire
) -> None:
    table = caller.tables.main
    made = keys.create(caller.tables, caller.call(), key_request())
    keys.revoke(caller.tables, caller.call(), made.key.id)
    reads = []
    for minutes in (0, 29, 30, 31):
        room_line.clear()
        sweep.sweep(table, now=caller.now + minutes * MINUTE)
        reads.append(list(room_line.calls))
    found = ["Query", "Query"]
    assert reads == [found, found, [*found, "TransactWriteItems"], ["Query"]]


@pytest.mark.parametrize(("minutes", "renewed"), [(4, False), (5, True)])
def test_an_ending_renews_the_entry_of_its_account_after_minutes(
    caller: Visitor, room_line: Wire, minutes: int, *, renewed: bool
) -> None:
    for later in (0, minutes * MINUTE):
        made = keys.create(caller.tables, caller.call(), key_request())
        caller.now += later
        room_line.clear()
        keys.revoke(caller.tables, caller.call(), made.key.id)
    assert ("UpdateItem" in room_line.calls) is renewed


def test_one_busy_chain_does_not_keep_other_accounts_from_their_events(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> None:
    del sleeps
    loud, quiet = unlimited_admin(tables), unlimited_admin(tables)
    real = tables.main.client.transact_write_items
    for one in (loud, quiet):
        made = keys.create(tables, one.call(), key_request())
        with monkeypatch.context() as busy:
            busy.setattr(tables.main.client, "transact_write_items", busy_chain(one))
            keys.revoke(tables, one.call(), made.key.id)

    def loud_only(**request: Any) -> Any:
        if loud.account_id in str(request) and "HEAD" in str(request):
            raise conflict(3)
        return real(**request)

    monkeypatch.setattr(tables.main.client, "transact_write_items", loud_only)
    with pytest.raises(Unavailable):
        sweep.sweep(tables.main, now=loud.now)
    state = State(tables)
    assert [len(state.endings(one.account_id)) for one in (loud, quiet)] == [1, 0]
