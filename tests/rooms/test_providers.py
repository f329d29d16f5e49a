"""Provider keys in their room: exact bounds, transactions, and races."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gatehouse.audit.model import Origin
from gatehouse.core.errors import BadInput, BoundReached, FieldRequired, NotFound, Unavailable
from gatehouse.core.text import is_plain
from gatehouse.dynamo.table import Tables
from gatehouse.providers import actions as providers
from gatehouse.providers import rules
from gatehouse.providers.model import parse_place, provider_place, transcription_place
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose
from support.actors.members import unlimited_admin
from support.actors.visitor import Visitor
from support.aws.faults import Killed, Wire, conflict_in_transaction, die_at, error
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.checks.invariants import check_invariants, counter_value

pytestmark = pytest.mark.usefixtures("settings_key")
IAM = Origin(actor="system:iam", request_id="iam")


def place(caller: Visitor, name: str = "anthropic") -> Place:
    return provider_place(caller.account_id, name)


def put(caller: Visitor, vault: Vault, text: str = "key", at: Place | None = None) -> None:
    table = caller.tables.main
    providers.put(table, caller.call(), vault, place=at or place(caller), text=text, field="apiKey")


def remove(caller: Visitor, at: Place | None = None) -> None:
    providers.remove(caller.tables.main, caller.call(), at or place(caller))


def reveal(caller: Visitor, vault: Vault, at: Place | None = None) -> str:
    table = caller.tables.main
    return providers.reveal(table, vault, at or place(caller), origin=IAM, now=caller.now)


# ---- Names and keys ------------------------------------------------------------------------------


@given(st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True))
def test_each_provider_name_has_its_own_place(name: str) -> None:
    assert provider_place("a", name) == parse_place("a", f"provider/{name}")
    assert provider_place("a", name) != transcription_place("a")
    assert rules.target(provider_place("a", name)) == f"secret:provider/{name}"


@given(st.text())
def test_names_with_other_characters_or_lengths_are_refused(name: str) -> None:
    if not name or len(name) > 64 or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        for read in (
            provider_place,
            lambda account, text: parse_place(account, f"provider/{text}"),
        ):
            with pytest.raises(BadInput):
                read("a", name)


@given(st.text())
def test_other_secrets_than_provider_keys_are_refused(path: str) -> None:
    if not path.startswith("provider/") and path != "transcription/openai":
        with pytest.raises(BadInput):
            parse_place("a", path)


def test_the_key_for_transcription_has_one_place() -> None:
    assert parse_place("a", "transcription/openai") == transcription_place("a")
    assert transcription_place("a") == Place(Purpose.TRANSCRIPTION, "a", "openai")


@given(st.text(max_size=30))
def test_a_key_is_returned_unchanged_or_refused(text: str) -> None:
    try:
        assert rules.check_key(text, field="apiKey") == text
        assert is_plain(text)
    except FieldRequired:
        assert not text.strip()
    except BadInput:
        assert not is_plain(text)


# ---- Stored keys ---------------------------------------------------------------------------------


@examples(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.text("xyz", min_size=1))),
        max_size=8,
    )
)
def test_reveal_returns_the_key_that_was_put_last(
    tables: Tables, vault: Vault, acts: list[tuple[str, str | None]]
) -> None:
    caller = unlimited_admin(tables)
    expected: dict[str, str] = {}
    for name, text in acts:
        caller.now += 1
        if text is None:
            remove(caller, place(caller, name))
            expected.pop(name, None)
        else:
            put(caller, vault, text, place(caller, name))
            expected[name] = text
    for name in "abc":
        found = providers.find(tables.main, place(caller, name))
        assert (found is not None) == (name in expected)
        if name in expected:
            assert reveal(caller, vault, place(caller, name)) == expected[name]
    assert counter_value(
        check_invariants(tables, now=caller.now), f"PROVIDER#{caller.account_id}"
    ) == len(expected)


def test_the_bound_is_exact_and_does_not_count_transcription(
    caller: Visitor, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse.providers.store.MOST_KEYS", 3)
    put(caller, vault, at=transcription_place(caller.account_id))
    for name in "abc":
        put(caller, vault, at=place(caller, name))
    with pytest.raises(BoundReached):
        put(caller, vault, at=place(caller, "d"))
    put(caller, vault, "renewed", place(caller, "a"))
    remove(caller, transcription_place(caller.account_id))
    with pytest.raises(BoundReached):
        put(caller, vault, at=place(caller, "d"))
    remove(caller, place(caller, "b"))
    put(caller, vault, at=place(caller, "d"))
    check_invariants(caller.tables, now=caller.now)


def test_removing_a_key_twice_writes_one_audit_event(caller: Visitor, vault: Vault) -> None:
    put(caller, vault)
    remove(caller)
    before = State(caller.tables).main
    remove(caller)
    assert State(caller.tables).main == before


# ---- Races ---------------------------------------------------------------------------------------


def meanwhile(room_line: Wire, act: Callable[[], Any], *, times: int = 1) -> None:
    """Call `act` just before each of the next `times` transactions."""
    left = [times]

    def plan(_: int, called: str) -> None:
        if called == "TransactWriteItems" and left[0]:
            left[0] -= 1
            room_line.before = None
            act()
            room_line.before = plan

    room_line.before = plan


def test_after_two_concurrent_puts_the_last_key_is_stored(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    for text in ("first", "second"):
        caller.now += 10
        other = Visitor(caller.tables, caller.principal, caller.minted, caller.now + 5)
        meanwhile(room_line, lambda o=other: put(o, vault, "the other's"))
        put(caller, vault, text)
        room_line.clear()
        assert reveal(caller, vault) == text
        check_invariants(caller.tables, now=caller.now)


def test_put_and_remove_win_over_a_concurrent_remove(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    put(caller, vault)
    meanwhile(room_line, lambda: remove(caller))
    put(caller, vault, "again")
    room_line.clear()
    assert reveal(caller, vault) == "again"
    meanwhile(room_line, lambda: remove(caller))
    remove(caller)
    room_line.clear()
    assert providers.find(caller.tables.main, place(caller)) is None
    check_invariants(caller.tables, now=caller.now)


def test_reveal_returns_the_key_that_its_audit_event_records(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    put(caller, vault, "old")
    later = Visitor(caller.tables, caller.principal, caller.minted, caller.now + 1)
    meanwhile(room_line, lambda: put(later, vault, "new"))
    assert reveal(caller, vault) == "new"
    meanwhile(room_line, lambda: remove(caller))
    with pytest.raises(NotFound):
        reveal(caller, vault)


def test_a_key_that_keeps_changing_raises_unavailable(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    put(caller, vault)
    moments = itertools.count(caller.now + 1)
    for act in (
        lambda: put(caller, vault),
        lambda: remove(caller),
        lambda: reveal(caller, vault),
    ):
        meanwhile(
            room_line,
            lambda: put(
                Visitor(caller.tables, caller.principal, caller.minted, next(moments)),
                vault,
                "other",
            ),
            times=30,
        )
        with pytest.raises(Unavailable):
            act()
        room_line.clear()
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.usefixtures("sleeps")
def test_conflicts_on_the_audit_chain_leave_nothing_half_written(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    put(caller, vault)
    before = State(caller.tables).main
    room_line.before = lambda _, called: (
        conflict_in_transaction(4) if called == "TransactWriteItems" else None
    )
    for act in (
        lambda: put(caller, vault),
        lambda: remove(caller),
        lambda: reveal(caller, vault),
    ):
        with pytest.raises(Unavailable):
            act()
    room_line.before = lambda *_: error("ThrottlingException")
    with pytest.raises(Unavailable):
        put(caller, vault)
    room_line.clear()
    assert State(caller.tables).main == before


# ---- Killed at each call -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["put new", "put over", "remove", "reveal"])
def test_killed_at_any_call_all_or_nothing_is_written_and_a_retry_works(
    caller: Visitor, vault: Vault, room_line: Wire, what: str, when: str
) -> None:
    if what != "put new":
        put(caller, vault, "old")
    acts: dict[str, Callable[[], Any]] = {
        "put new": lambda: put(caller, vault, "new"),
        "put over": lambda: put(caller, vault, "new"),
        "remove": lambda: remove(caller),
        "reveal": lambda: reveal(caller, vault),
    }
    caller.now += 1
    start, deaths = Rewind(caller.tables), 0
    for number in itertools.count(1):
        assert number < 50, "the loop does not end"
        start.back()
        room_line.clear()
        setattr(room_line, when, die_at(number))
        try:
            acts[what]()
        except Killed:
            deaths += 1
        else:
            break
        finally:
            room_line.clear()
        check_invariants(caller.tables, now=caller.now)
        acts[what]()
        check_invariants(caller.tables, now=caller.now)
        if what.startswith("put"):
            assert reveal(caller, vault) == "new"
    assert deaths >= 3
