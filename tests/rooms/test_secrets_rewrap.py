"""A rewrap wraps every secret by the new key, in steps, and loses none when it is killed."""

from __future__ import annotations

import io
import itertools
import json
import secrets as randomness
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatehouse.audit import rules as chain
from gatehouse.audit import store as audit_store
from gatehouse.audit.model import Chain, Head, Origin
from gatehouse.core.errors import BadInput, SettingsKeyUnusable, Unavailable
from gatehouse.dynamo.table import Tables, transact
from gatehouse.secrets import rewrap as rewraps
from gatehouse.secrets import rules, store
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import KMS, STACK, Place, Purpose, RewrapStep
from support.aws.faults import Killed, Wire, die_at, error
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.worlds.settings_keys import MARK, PLACE, KeyedStack

NOW = 1_790_000_000_000_000
ORIGIN = Origin(actor="system:rewrap", request_id="rewrap")
ONE, TWO, TEXT = "ab" * 32, "cd" * 32, "a text of some length"
OPERATOR = "operators-account"
PLACES = [
    PLACE,
    Place(Purpose.WEBHOOK, "account-a", "hook"),
    Place(Purpose.WEBHOOK, "account-a", "hook#headers", "https://a.example:443"),
    Place(Purpose.PROVIDER, "account-b", "anthropic"),
    Place(Purpose.TRANSCRIPTION, "account-b", "openai"),
    Place(Purpose.NONCE, STACK, "key"),
]


@pytest.fixture
def keyed(aws: pytest.MonkeyPatch, tables: Tables, kms: Wire) -> Iterator[KeyedStack]:
    del kms
    stack = KeyedStack(aws, tables)
    yield stack
    stack.set()


def fill(keyed: KeyedStack, vault: Vault) -> None:
    for place in PLACES:
        keyed.put(vault, place, text_of(place))


def text_of(place: Place) -> str:
    return f"{MARK} {place}"


def check_readable(keyed: KeyedStack, vault: Vault) -> None:
    for place in PLACES:
        assert keyed.read(vault, place) == text_of(place)


def step(keyed: KeyedStack, vault: Vault, cursor: str | None = None) -> RewrapStep:
    table = keyed.tables.main
    return rewraps.run_step(
        table, vault, cursor=cursor, operator_id=OPERATOR, origin=ORIGIN, now=NOW
    )


def rewrap(keyed: KeyedStack, vault: Vault) -> list[RewrapStep]:
    """Run steps until one reports that the rewrap is done."""
    steps: list[RewrapStep] = []
    while not (steps and steps[-1].done):
        assert len(steps) < 50, "the loop does not end"
        steps.append(step(keyed, vault, steps[-1].cursor if steps else None))
    return steps


WAYS = [("", ONE), (ONE, TWO), (ONE, TEXT), (TEXT, ONE), (TEXT, TEXT + "!"), (ONE, "")]


@pytest.mark.parametrize(("old", "new"), WAYS)
def test_every_secret_of_every_account_is_rewrapped(keyed: KeyedStack, old: str, new: str) -> None:
    fill(keyed, keyed.set(old))
    before = keyed.stored()
    vault = keyed.set(new, old)
    first, second = rewrap(keyed, vault)
    assert (first.rewrapped, first.left, first.cursor, first.done) == (len(PLACES), 0, None, False)
    assert (second.rewrapped, second.left, second.cursor, second.done) == (0, 0, None, True)
    after = keyed.stored()
    (by,) = keyed.wrapped_by()
    assert by == (KMS if not new else by) != before[PLACE].wrapped_by
    for place, sealed in after.items():
        was = before[place]
        assert (sealed.ciphertext, sealed.nonce) == (was.ciphertext, was.nonce)
        assert sealed.wrapped_key != was.wrapped_key
    check_readable(keyed, keyed.set(new))
    if new:
        with pytest.raises(SettingsKeyUnusable):
            keyed.read(keyed.set(old))


def test_from_one_settings_key_to_another_kms_is_not_called(keyed: KeyedStack, kms: Wire) -> None:
    fill(keyed, keyed.set(ONE))
    rewrap(keyed, keyed.set(TWO, ONE))
    assert kms.calls == []


def test_each_rewrap_has_an_audit_event_in_its_accounts_trail(
    keyed: KeyedStack,
) -> None:
    fill(keyed, keyed.set(ONE))
    vault = keyed.set(TWO, ONE)
    rewrap(keyed, vault)
    state = State(keyed.tables)
    ids = [rules.settings_key(bytes.fromhex(key)).id for key in (ONE, TWO)]
    for account_id, targets in {
        "account-a": {
            "secret:peer/peer-1",
            "secret:webhook/hook",
            "secret:webhook/hook#headers",
        },
        "account-b": {"secret:provider/anthropic", "secret:transcription/openai"},
        OPERATOR: {"secret:nonce/key"},
    }.items():
        trail = state.events(account_id)
        assert chain.verify(trail, _head(keyed, account_id)) == []
        assert {event["target"] for event in trail} == targets
        for event in trail:
            assert (event["action"], event["actor"]) == ("secret.rewrap", "system:rewrap")
            assert [event["before"], event["after"]] == [{"wrapped_by": one} for one in ids]
    assert state.events(STACK) == []


def test_without_an_operator_the_stack_has_its_own_audit_trail(keyed: KeyedStack) -> None:
    fill(keyed, keyed.set())
    rewraps.run_step(
        keyed.tables.main, keyed.set(ONE), cursor=None, operator_id=None, origin=ORIGIN, now=NOW
    )
    assert len(State(keyed.tables).events(STACK)) == 1


def test_after_a_rewrap_only_the_new_key_can_store_secrets(keyed: KeyedStack) -> None:
    fill(keyed, keyed.set(ONE))
    rewrap(keyed, keyed.set(TWO, ONE))
    other = replace(PLACE, name="later")
    with pytest.raises(SettingsKeyUnusable):
        keyed.put(keyed.set(ONE), other)
    keyed.put(keyed.set(TWO), other)


def test_until_a_rewrap_is_done_the_previous_key_is_required(keyed: KeyedStack) -> None:
    fill(keyed, keyed.set(ONE))
    first = step(keyed, keyed.set(TWO, ONE))
    assert (first.cursor, first.done) == (None, False)
    with pytest.raises(SettingsKeyUnusable):
        keyed.put(keyed.set(TWO), replace(PLACE, name="later"))


def test_without_secrets_the_first_step_is_done(keyed: KeyedStack) -> None:
    for key in (ONE, ""):
        assert [one.done for one in rewrap(keyed, keyed.set(key))] == [True]
    keyed.put(keyed.set())


def test_each_step_is_bounded_and_continues_after_the_last_one(
    keyed: KeyedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_PAGE", 3), ("_PAGES", 4), ("_MOST", 5)):
        monkeypatch.setattr(rewraps, name, value)
    old = keyed.set(ONE)
    places = [Place(Purpose.PROVIDER, f"account-{n % 7}", f"p{n}") for n in range(20)]
    for place in places:
        keyed.put(old, place)
    steps = rewrap(keyed, keyed.set(TWO, ONE))
    assert sum(one.rewrapped for one in steps) == 20
    assert all(one.rewrapped <= 5 + 2 for one in steps)
    assert len(keyed.wrapped_by()) == 1
    passes = [one.cursor for one in steps].count(None)
    assert passes == 2
    seen = [*itertools.takewhile(lambda one: one.cursor, steps)]
    assert len({one.cursor for one in seen}) == len(seen) >= 2, "20 secrets, at most 7 a step"


def test_a_pass_starts_again_when_the_key_was_changed(
    keyed: KeyedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewraps, "_PAGE", 2)
    monkeypatch.setattr(rewraps, "_PAGES", 1)
    fill(keyed, keyed.set())
    cursor = step(keyed, keyed.set(ONE)).cursor
    assert cursor is not None
    from_start: list[bool] = []
    events = keyed.tables.main.client.meta.events
    events.register(
        "provide-client-params.dynamodb.Scan",
        lambda params, **_: from_start.append("ExclusiveStartKey" not in params),
    )
    vault = keyed.set(TWO, ONE)
    step(keyed, vault, cursor)
    assert from_start == [True]
    rewrap(keyed, vault)
    check_readable(keyed, keyed.set(TWO))


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "bm90IGpzb24=", "W10=", "\u00e4"])
def test_a_malformed_cursor_is_refused(keyed: KeyedStack, cursor: str) -> None:
    with pytest.raises(BadInput):
        step(keyed, keyed.set(), cursor)


# ---- Secrets that cannot be unwrapped, or change meanwhile ---------------------------------------


def test_secrets_that_no_key_unwraps_are_left_and_logged(
    keyed: KeyedStack, logs: io.StringIO
) -> None:
    fill(keyed, keyed.set(ONE))
    rewrap(keyed, keyed.set(TWO, ONE))
    sealed = keyed.stored()[PLACE]
    foreign = replace(PLACES[1], name="foreign")
    unknown = {"pk": "SECRET#account-c", "sk": "telepathy#x", "wrapped_key": b"odd"}
    garbled = replace(PLACES[3], name="garbled")
    kept = replace(sealed, wrapped_by="env:0000000000000000", wrapped_key=randomness.token_bytes(9))
    by_kms = replace(sealed, wrapped_by=KMS, wrapped_key=randomness.token_bytes(60))
    table = keyed.tables.main
    transact(table.client, [
        store.put_new(table, foreign, kept),
        store.put_new(table, garbled, by_kms),
        table.put_new({**unknown, "ciphertext": b"", "nonce": b""}),
    ])  # fmt: skip
    vault = keyed.set(ONE, TWO)
    first, second = step(keyed, vault), step(keyed, vault)
    assert (first.rewrapped, first.left, first.done) == (len(PLACES), 3, False)
    assert (second.rewrapped, second.left, second.done) == (0, 3, False)
    for place in PLACES:
        assert keyed.read(keyed.set(ONE), place) == text_of(place)
    lines = [json.loads(one) for one in logs.getvalue().splitlines()]
    left = {
        one["secret"]: one["reason"] for one in lines if one["message"] == "secret not rewrapped"
    }
    assert left == {
        "account-a/webhook/foreign": "SettingsKeyUnusable",
        "account-b/provider/garbled": "WrongPlace",
        "account-c/telepathy/x": "UnknownPurpose",
    }
    with pytest.raises(SettingsKeyUnusable):
        keyed.put(keyed.set(ONE), replace(PLACE, name="later"))


def test_a_secret_replaced_or_removed_meanwhile_is_not_changed(
    keyed: KeyedStack, room_line: Wire
) -> None:
    fill(keyed, keyed.set(ONE))
    vault = keyed.set(TWO, ONE)
    table, client = keyed.tables.main, keyed.tables.main.client
    replaced, removed = PLACES[3], PLACES[4]

    def plan(_: int, called: str) -> None:
        if called == "TransactWriteItems":
            room_line.before = None
            sealed = keyed.set(ONE).seal(replaced, "newer")
            transact(client, [store.replace(table, replaced, sealed)])
            transact(client, [store.delete(table, removed)])

    room_line.before = plan
    steps = rewrap(keyed, vault)
    assert [one.left for one in steps] == [0] * len(steps)
    keyed.set(TWO)
    assert keyed.read(keyed.set(TWO), replaced) == "newer"
    assert keyed.read(keyed.set(TWO), removed) is None
    assert len(keyed.wrapped_by()) == 1


@pytest.mark.parametrize("new", [ONE, ""])
def test_a_kms_failure_stops_a_step_and_the_next_run_continues(
    keyed: KeyedStack, kms: Wire, new: str
) -> None:
    old = "" if new else ONE
    fill(keyed, keyed.set(old))
    vault = keyed.set(new, old)
    kms.clear()
    kms.before = lambda call, _: error("KMSInternalException", 500) if call > 2 else None
    with pytest.raises(Unavailable):
        step(keyed, vault)
    kms.clear()
    check_readable(keyed, vault)
    assert sum(one.rewrapped for one in rewrap(keyed, vault)) == len(PLACES) - 2
    check_readable(keyed, keyed.set(new))


# ---- Killed at each call -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ONE),
        pytest.param(ONE, TWO, marks=pytest.mark.slow),
        pytest.param(ONE, "", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("service", ["dynamodb", "kms"])
def test_killed_at_any_call_nothing_is_lost_and_a_rerun_finishes(
    keyed: KeyedStack, room_line: Wire, kms: Wire, service: str, old: str, new: str, when: str
) -> None:
    """Every secret is readable with both keys set, as they are until the rewrap is done."""
    fill(keyed, keyed.set(old))
    vault = keyed.set(new, old)
    start, watched, deaths = Rewind(keyed.tables), kms if service == "kms" else room_line, 0
    for number in itertools.count(1):
        assert number < 100, "the loop does not end"
        start.back()
        watched.clear()
        setattr(watched, when, die_at(number))
        try:
            rewrap(keyed, keyed.set(new, old))
        except Killed:
            deaths += 1
        else:
            break
        finally:
            watched.clear()
        check_readable(keyed, vault)
        check_recorded(keyed)
        rewrap(keyed, vault)
        check_readable(keyed, keyed.set(new))
        keyed.set(new, old)
        check_recorded(keyed)
    assert deaths >= (0 if service == "kms" and old and new else len(PLACES))
    check_readable(keyed, keyed.set(new))


def _head(keyed: KeyedStack, account_id: str) -> Head:
    return audit_store.read_head(keyed.tables.main, account_id, Chain.ADMINISTRATION)


def check_recorded(keyed: KeyedStack) -> None:
    """Check that each rewrapped secret has one audit event, and that the chains are whole."""
    state = State(keyed.tables)
    trails = {place.account_id: state.events(place.account_id) for place in PLACES}
    trails[OPERATOR] = state.events(OPERATOR)
    for account_id, trail in trails.items():
        assert chain.verify(trail, _head(keyed, account_id)) == []
    last = {event["target"]: event["after"] for trail in trails.values() for event in trail}
    for place, sealed in keyed.stored().items():
        target = f"secret:{place.purpose.value}/{place.name}"
        if target in last:
            assert last[target] == {"wrapped_by": sealed.wrapped_by}
    assert sum(map(len, trails.values())) == len(last), "no secret is rewrapped twice"
