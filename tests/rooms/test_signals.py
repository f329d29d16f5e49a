"""Signals: bounds, published format, storage, claims and acknowledgements."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.core import ids
from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.errors import BadInput, Conflict, FieldRequired, NotFound, Unavailable
from gatehouse.core.grants import SIGNAL_TYPES, Permissions
from gatehouse.core.text import is_plain
from gatehouse.dynamo import attributes
from gatehouse.dynamo.table import Tables, transact
from gatehouse.policy.model import UNNAMED, Resource
from gatehouse.signals import actions as signals
from gatehouse.signals import rules, store
from gatehouse.signals import writes as signal_writes
from gatehouse.signals.model import LEASE, PING, NewSignal, Signal, TaskStatus
from support.actors.emitter import emit, stored
from support.actors.visitor import Visitor, visitor
from support.aws.faults import Wire, error, first
from support.checks.inspection import items

NOW = 20_000 * DAY + 12 * 3_600 * SECOND
ID = ids.new(NOW)
WHOLE = Signal(
    id="018f0000-0000-7000-8000-00000000000a",
    account_id="account",
    type="task",
    content="grüße \u2603 \u2028 <b>",
    from_identity="identity:one",
    created_at=1_714_000_000_250_000,
    expires_at=1_716_592_000_250_000,
    from_role="planner",
    to_ring="inner",
    urgency="0.75",
    tags=("b", "a"),
    payload='{"z":1.5,"a":[null,true]}',
    metadata='{"task_type":"count"}',
    task_status=TaskStatus.OPEN,
)

labels = st.text(st.characters(codec="utf-8"), max_size=70)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)
objects = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=6), json_values, max_size=4
)


def create(**fields: Any) -> Signal:
    new = NewSignal(**{"signal_type": "pulse", "content": "x", **fields})
    return rules.create(
        new,
        signal_id=ID,
        account_id="account",
        from_identity="identity:one",
        now=NOW,
        expires_at=NOW + DAY,
    )


# ---- What a signal may be, pure ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1, "1"),
        (1.0, "1"),
        (5e-324, "5e-324"),
        (math.nextafter(1, 0), "0.9999999999999999"),
    ],
)
def test_an_urgency_is_stored_as_its_shortest_text(value: float, text: str) -> None:
    assert rules.urgency_text(value) == text


@given(st.floats(0, 1))
def test_an_urgency_is_stored_without_rounding(value: float) -> None:
    assert float(rules.urgency_text(value)) == value


@given(st.floats().filter(lambda value: not 0 <= value <= 1) | st.booleans())
def test_an_urgency_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(BadInput) as refused:
        rules.urgency_text(value)
    assert refused.value.details == {"field": "urgency"}


@given(labels)
def test_a_label_has_1_to_64_printable_characters(text: str) -> None:
    good = 0 < len(text) <= 64 and is_plain(text)
    for field in ("from_role", "to_role", "to_ring"):
        if good:
            assert getattr(create(**{field: text}), field) == text
        else:
            with pytest.raises(BadInput) as refused:
                create(**{field: text})
            assert refused.value.details == {"field": field}


@given(st.lists(labels, max_size=52))
def test_there_are_at_most_50_tags_and_each_is_a_label(tags: list[str]) -> None:
    good = len(tags) <= 50 and all(0 < len(tag) <= 64 and is_plain(tag) for tag in tags)
    if good:
        assert create(tags=tags).tags == tuple(tags)
    else:
        with pytest.raises(BadInput):
            create(tags=tags)


def test_content_is_not_blank_and_at_most_65536_characters() -> None:
    assert create(content="x" * 65_536).content == "x" * 65_536
    assert create(content=" \n\x00x ").content == " \n\x00x ", "stored unchanged"
    with pytest.raises(BadInput):
        create(content="x" * 65_537)
    with pytest.raises(FieldRequired):
        create(content=" \n\u2003")


@pytest.mark.parametrize(("field", "largest"), [("payload", 65_536), ("metadata", 16_384)])
def test_payload_and_metadata_are_bounded_in_bytes(field: str, largest: int) -> None:
    fits = {"k": "x" * (largest - len('{"k":""}'))}
    assert len(getattr(create(**{field: fits}), field).encode()) == largest
    snowmen = {"k": "\u2603" * (largest // 3)}
    for large in ({"k": fits["k"] + "x"}, snowmen):
        with pytest.raises(BadInput) as refused:
            create(**{field: large})
        assert refused.value.details == {"field": field}


@given(objects)
def test_a_payload_is_shown_as_it_was_emitted(value: dict[str, Any]) -> None:
    signal = create(payload=value, metadata={})
    assert rules.view(signal, NOW)["payload"] == value
    assert signal.metadata == create(metadata=None).metadata == "{}"


@pytest.mark.parametrize("field", ["to_identity", "parent_id"])
def test_a_reference_must_be_an_id_of_its_kind(field: str) -> None:
    kind = {"to_identity": "identity", "parent_id": "signal"}[field]
    for text in (ID, ID.upper(), f"{kind}:{ID}"):
        assert getattr(create(**{field: text}), field) == f"{kind}:{ID}"
    for odd in ("", "x", f"webhook:{ID}", f"{kind}:", f"{ID}\n"):
        with pytest.raises(BadInput) as refused:
            create(**{field: odd})
        assert refused.value.details == {"field": field}


@pytest.mark.parametrize("kind", [*SIGNAL_TYPES, PING, "noise", ""])
def test_eight_types_can_be_emitted_and_only_a_task_is_open(kind: str) -> None:
    if kind in SIGNAL_TYPES:
        assert create(signal_type=kind).task_status == ("open" if kind == "task" else None)
    else:
        with pytest.raises(BadInput) as refused:
            create(signal_type=kind)
        assert refused.value.code == "SIGNAL_EMIT_INVALID_TYPE"


@pytest.mark.parametrize(
    ("kind", "metadata", "task_type"),
    [
        ("task", {"task_type": "count"}, "count"),
        ("task", {"other": "count"}, None),
        ("task", None, None),
        ("alert", {"task_type": "count"}, None),
        ("alert", {"task_type": 5}, None),
    ],
)
def test_the_task_type_comes_from_the_metadata(
    kind: str, metadata: dict[str, Any] | None, task_type: str | None
) -> None:
    signal = create(signal_type=kind, metadata=metadata)
    assert rules.task_type_of(signal) == task_type
    of_task = None if kind != "task" else task_type or UNNAMED
    assert rules.resource_of(signal) == Resource(kind, of_task, UNNAMED)
    assert rules.resource_of(replace(signal, to_ring="inner")).ring == "inner"


@pytest.mark.parametrize("named", ["", "x" * 65, "a\n", 5, None, [], {}])
def test_a_task_type_must_be_a_label(named: Any) -> None:
    with pytest.raises(BadInput) as refused:
        create(signal_type="task", metadata={"task_type": named})
    assert refused.value.details == {"field": "metadata.task_type"}


@pytest.mark.parametrize(
    ("lists", "kind", "ring", "seen"),
    [
        ({}, "pulse", None, True),
        ({"signal_types": ("pulse",)}, "pulse", None, True),
        ({"signal_types": ("task",)}, "pulse", None, False),
        ({"signal_types": ("task",)}, PING, None, False),
        ({"ring_scopes": ("a", "b")}, "pulse", "b", True),
        ({"ring_scopes": ("a", "b")}, "pulse", "c", False),
        ({"ring_scopes": ("a", "b")}, "pulse", None, False),
        ({"ring_scopes": ("a",), "signal_types": ("task",)}, "pulse", "a", False),
        ({"task_types": ("x",), "memory_scopes": ("list",)}, "task", None, True),
    ],
)
def test_a_key_sees_only_the_types_and_rings_of_its_permissions(
    lists: dict[str, Any], kind: str, ring: str | None, *, seen: bool
) -> None:
    signal = replace(WHOLE, type=kind, to_ring=ring)
    assert rules.may_see(Permissions(**lists), signal) == seen


# ---- How it is shown, pure -----------------------------------------------------------------------


def test_the_body_that_webhooks_receive_never_changes() -> None:
    """It is published and signed: receivers of other makes read it."""
    assert rules.body(WHOLE).decode() == (
        '{"id":"signal:018f0000-0000-7000-8000-00000000000a","signal_type":"task",'
        '"content":"grüße \u2603 \u2028 <b>","from_identity":"identity:one",'
        '"from_role":"planner","to_role":null,"to_ring":"inner","to_identity":null,'
        '"urgency":0.75,"tags":["b","a"],"payload":{"z":1.5,"a":[null,true]},'
        '"metadata":{"task_type":"count"},"parent_id":null,"task_status":"open",'
        '"claimed_by":null,"claim_expires_at":null,"delivery_state":"pending",'
        '"created_at":"2024-04-24T23:06:40.250Z"}'
    )


def test_claims_and_acknowledgements_do_not_change_the_body() -> None:
    for became in (
        {"pending": False},
        {"task_status": TaskStatus.ACKED, "claimed_by": "identity:two"},
        {
            "task_status": TaskStatus.CLAIMED,
            "claimed_by": "identity:two",
            "claim_expires_at": NOW,
        },
    ):
        assert rules.body(replace(WHOLE, **became)) == rules.body(WHOLE)
    other = replace(WHOLE, type="alert", task_status=None)
    claimed = replace(other, task_status=TaskStatus.CLAIMED, claimed_by="x", claim_expires_at=NOW)
    assert rules.body(claimed) == rules.body(other)


@given(objects, st.floats(0, 1))
def test_a_stored_signal_has_the_same_body_bytes(payload: dict[str, Any], urgency: float) -> None:
    signal = create(payload=payload, urgency=urgency)
    reread = store.from_item(store._item(signal))  # noqa: SLF001 - as it is read
    assert rules.body(reread) == rules.body(signal)
    assert json.loads(rules.body(signal))["payload"] == payload


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "pending"),
        ({"pending": False}, "dispatched"),
        ({"task_status": TaskStatus.ACKED}, "acked"),
        ({"task_status": TaskStatus.ACKED, "pending": False}, "acked"),
        ({"task_status": TaskStatus.CLAIMED, "pending": False}, "dispatched"),
    ],
)
def test_delivery_state_is_pending_then_dispatched_then_acked(
    fields: dict[str, Any], state: str
) -> None:
    assert rules.view(replace(WHOLE, **fields), NOW)["delivery_state"] == state


@pytest.mark.parametrize("kind", ["task", "alert"])
def test_a_claim_is_not_shown_after_its_lease(kind: str) -> None:
    claimed = replace(
        WHOLE,
        type=kind,
        task_status=TaskStatus.CLAIMED,
        claimed_by="identity:two",
        claim_expires_at=NOW,
    )
    names = ("task_status", "claimed_by", "claim_expires_at")
    live, over = rules.view(claimed, NOW - 1), rules.view(claimed, NOW)
    assert [live[name] for name in names] == ["claimed", "identity:two", "2024-10-04T12:00:00.000Z"]
    assert [over[name] for name in names] == ["open" if kind == "task" else None, None, None]


# ---- Storage -------------------------------------------------------------------------------------


def test_a_stored_signal_is_read_unchanged(tables: Tables) -> None:
    bare = create()
    for signal in (
        bare,
        replace(WHOLE, parent_id=f"signal:{ID}", to_identity=f"identity:{ID}", to_role="r"),
        replace(bare, pending=False),
        replace(bare, origin_peer="peer:x", from_identity="agent-7"),
        replace(WHOLE, task_status=TaskStatus.ACKED, claimed_by="identity:two"),
    ):
        item = store._item(signal) | (  # noqa: SLF001
            {"claimed_by": signal.claimed_by} if signal.claimed_by else {}
        )
        assert store.from_item(item) == signal
        assert signals.from_image(attributes.marshal(item)) == signal
    store.insert(tables.main, bare)
    assert store.find(tables.main, "account", ID) == bare


def test_a_signal_is_in_the_due_index_until_its_fan_out_is_finished(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    (item,) = stored(tables)
    assert item["pk"] == f"SIGNAL#{caller.account_id}#{caller.now // DAY}"
    assert item["fanout"] == "pending"
    assert item["due_pk"] == f"FANOUT#{int(signal.id[-1], 16)}"
    assert item["due_at"] == signal.created_at + 2 * MINUTE
    assert item["ttl"] == signal.expires_at // SECOND == (caller.now + 30 * DAY) // SECOND
    due = signal.created_at + 2 * MINUTE
    assert signals.list_not_fanned_out(tables.main, before=due - 1, limit=10) == []
    assert signals.list_not_fanned_out(tables.main, before=due, limit=10) == [signal]
    for _ in range(2):
        signals.mark_fanned_out(tables.main, signal)
        (item,) = stored(tables)
        assert not {"fanout", "due_pk", "due_at"} & item.keys()
    assert signals.list_not_fanned_out(tables.main, before=due + DAY, limit=10) == []
    reread = signals.find(tables.main, caller.account_id, signal.id, now=caller.now)
    assert reread == replace(signal, pending=False)


def test_a_repeated_insert_of_the_same_signal_changes_nothing(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    store.insert(tables.main, signal)
    signals.mark_fanned_out(tables.main, signal)
    store.insert(tables.main, signal)
    (item,) = stored(tables)
    assert "fanout" not in item, "the repeat wrote nothing"


def test_marking_a_deleted_signal_as_fanned_out_writes_nothing(tables: Tables) -> None:
    signals.mark_fanned_out(tables.main, WHOLE)
    assert items(tables.main) == []


def test_overdue_signals_of_every_shard_are_listed_up_to_the_limit(tables: Tables) -> None:
    caller = visitor(tables)
    every = {emit(caller).id for _ in range(60)}
    shards = {item["due_pk"] for item in stored(tables)}
    assert len(shards) > 8
    later = caller.now + DAY
    assert {
        one.id for one in signals.list_not_fanned_out(tables.main, before=later, limit=100)
    } == every
    for limit in (1, 7, 59):
        overdue = signals.list_not_fanned_out(tables.main, before=later, limit=limit)
        assert len({one.id for one in overdue} & every) == limit


def test_each_shard_is_listed_first_at_some_minute(tables: Tables) -> None:
    caller = visitor(tables)
    every = {emit(caller).id for _ in range(40)}
    seen: set[str] = set()
    for minute in range(16):
        before = caller.now + 3 * MINUTE + minute * MINUTE
        overdue = signals.list_not_fanned_out(tables.main, before=before, limit=10)
        seen |= {one.id for one in overdue}
    assert seen == every


def test_a_ping_is_stored_without_fan_out(tables: Tables) -> None:
    caller = visitor(tables)
    ping = signals.ping(caller.account_id, now=caller.now)
    transact(tables.main.client, [signal_writes.create(tables.main, ping)])
    assert signals.find(tables.main, caller.account_id, ping.id, now=caller.now) == ping
    assert ping.expires_at == caller.now + 30 * DAY
    (item,) = stored(tables)
    assert not {"fanout", "due_pk", "due_at"} & item.keys()
    assert json.loads(signals.body(ping))["signal_type"] == "ping"
    assert signals.page(tables.main, caller.call(), type="ping", ring=None, limit=1, before=None)[
        0
    ] == [ping]
    assert signals.get(tables.main, caller.call(), ping.id) == ping


# ---- Taking on -----------------------------------------------------------------------------------


def _as(caller: Visitor, identity: str) -> Visitor:
    return replace(caller, principal=replace(caller.principal, identity_id=identity))


def test_a_claim_between_read_and_write_wins(tables: Tables, room_line: Wire) -> None:
    caller = visitor(tables)
    other = _as(caller, "other")
    for what in (signals.claim, signals.ack):
        task = emit(caller, signal_type="task")
        if what is signals.ack:
            signals.claim(tables.main, caller.call(), task.id)

        def between(_: int, operation: str, task: Signal = task, what: Any = what) -> None:
            if operation == "UpdateItem":
                room_line.before = None
                if what is signals.ack:
                    caller.now += LEASE
                signals.claim(tables.main, replace(other, now=caller.now).call(), task.id)

        room_line.before = between
        call = caller.call()
        if what is signals.ack:
            call = replace(call, now=call.now + LEASE)
        with pytest.raises(Conflict) as refused:
            what(tables.main, call, task.id)
        assert refused.value.code == "SIGNAL_CLAIM_CONFLICT"
        claimed = signals.find(tables.main, caller.account_id, task.id, now=caller.now)
        assert claimed is not None
        assert claimed.claimed_by == "identity:other"


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_a_signal_deleted_between_read_and_write_is_not_found(
    tables: Tables, room_line: Wire, what: str
) -> None:
    caller = visitor(tables)
    task = emit(caller, signal_type="task")
    signals.claim(tables.main, caller.call(), task.id)

    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":
            room_line.before = None
            tables.main.client.delete_item(
                TableName=tables.main.name,
                Key=attributes.marshal(store._key(caller.account_id, task.id)),  # noqa: SLF001
            )

    room_line.before = between
    with pytest.raises(NotFound):
        getattr(signals, what)(tables.main, caller.call(), task.id)
    assert stored(tables) == [], "nothing was made of it"


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_a_conflict_with_another_transaction_is_unavailable(
    tables: Tables, room_line: Wire, what: str
) -> None:
    caller = visitor(tables)
    task = emit(caller, signal_type="task")
    signals.claim(tables.main, caller.call(), task.id)
    room_line.before = first(1, lambda: error("TransactionConflictException"), "UpdateItem")
    with pytest.raises(Unavailable):
        getattr(signals, what)(tables.main, caller.call(), task.id)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["claim", "ack", "wait"]))))
def test_any_sequence_of_claims_and_acknowledgements_follows_the_model(
    stack: Tables, steps: list[tuple[str, str]]
) -> None:
    """The model: who holds it, until when, and whether it is done."""
    caller = visitor(stack)
    task = emit(caller, signal_type="task")
    holder, until, done = None, 0, False
    for name, step in steps:
        live = holder is not None and until > caller.now
        if step == "wait":
            caller.now += LEASE // 2
            continue
        if step == "claim":
            good = not done and (not live or holder == name)
        else:
            good = holder == name and (done or live)
        try:
            got = getattr(signals, step)(stack.main, _as(caller, name).call(), task.id)
        except Conflict:
            assert not good
            continue
        assert good
        holder = name
        done = done or step == "ack"
        until = caller.now + LEASE if step == "claim" else until
        assert got.claimed_by == f"identity:{holder}"
        assert got.claim_expires_at == (None if done else until)
        assert got.acked == done
        assert signals.find(stack.main, caller.account_id, task.id, now=caller.now) == got
