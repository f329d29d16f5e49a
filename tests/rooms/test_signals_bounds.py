"""A signal's fields at the exact bounds, exact errors, and the whole of what is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES, Permissions
from gatehouse.policy.model import Resource
from gatehouse.signals import rules
from gatehouse.signals.model import NewSignal, Signal, TaskStatus

DAY = 86_400_000_000
NOW = 1_714_000_000_250_000
ID = "018f0000-0000-7000-8000-00000000000a"
OTHER = "018f0000-0000-7000-8000-00000000000b"
SIGNAL = Signal(
    id=ID,
    account_id="account",
    type="task",
    content="grüße",
    from_identity="identity:one",
    created_at=NOW,
    expires_at=NOW + DAY,
    from_role="planner",
    to_role="builder",
    to_ring="inner",
    to_identity="identity:two",
    urgency="0.75",
    tags=("b", "a"),
    payload='{"z":[1.5,null]}',
    metadata='{"task_type":"count"}',
    parent_id=f"signal:{OTHER}",
    task_status=TaskStatus.OPEN,
)
VIEW = {
    "id": f"signal:{ID}",
    "signal_type": "task",
    "content": "grüße",
    "from_identity": "identity:one",
    "from_role": "planner",
    "to_role": "builder",
    "to_ring": "inner",
    "to_identity": "identity:two",
    "urgency": 0.75,
    "tags": ["b", "a"],
    "payload": {"z": [1.5, None]},
    "metadata": {"task_type": "count"},
    "parent_id": f"signal:{OTHER}",
    "task_status": "open",
    "claimed_by": None,
    "claim_expires_at": None,
    "delivery_state": "pending",
    "created_at": "2024-04-24T23:06:40.250Z",
}
WHOLE = NewSignal(
    signal_type="task",
    content="grüße",
    from_role="planner",
    to_role="builder",
    to_ring="inner",
    to_identity=f"identity:{OTHER}",
    urgency=0.75,
    tags=["b", "a"],
    payload={"z": [1.5, None], "s": "\u2603"},
    metadata={"task_type": "count"},
    parent_id=OTHER,
)


def create(new: NewSignal) -> Signal:
    return rules.create(
        new,
        signal_id=ID,
        account_id="account",
        from_identity="identity:one",
        now=NOW,
        expires_at=NOW + DAY,
    )


# ---- Creation ----------------------------------------------------------------------------------


def test_each_field_of_a_request_becomes_a_field_of_the_signal() -> None:
    assert create(WHOLE) == replace(
        SIGNAL,
        to_identity=f"identity:{OTHER}",
        payload='{"z":[1.5,null],"s":"\u2603"}',
    )


def test_fields_that_a_request_left_out_have_defaults() -> None:
    assert create(NewSignal("pulse", "x")) == Signal(
        id=ID,
        account_id="account",
        type="pulse",
        content="x",
        from_identity="identity:one",
        created_at=NOW,
        expires_at=NOW + DAY,
        urgency="0.5",
        payload="{}",
        metadata="{}",
    )


LABEL = "must be 1 to 64 printable characters"
REFUSED_CONTENT = (
    "content must not have control, line-separating or bidirectional characters,"
    " except line breaks and tabs"
)
TYPES = f"signal_type must be one of {', '.join(SIGNAL_TYPES)}"


@pytest.mark.parametrize(
    ("fields", "message", "field", "code"),
    [
        ({"signal_type": "ping"}, TYPES, "signal_type", "SIGNAL_EMIT_INVALID_TYPE"),
        ({"content": "x" * 65_537}, "content must be at most 65536 characters", "content", None),
        *(
            ({"content": f"x{wrong}y"}, REFUSED_CONTENT, "content", None)
            for wrong in ("\0", "\r", "\x1b[2J", "\x85", "\u2028", "\u202e", "\u2066")
        ),
        ({"from_role": ""}, f"from_role {LABEL}", "from_role", None),
        ({"to_role": "r" * 65}, f"to_role {LABEL}", "to_role", None),
        ({"to_ring": "a\n"}, f"to_ring {LABEL}", "to_ring", None),
        ({"urgency": 1.001}, "urgency must be a number from 0 to 1", "urgency", None),
        ({"urgency": -0.001}, "urgency must be a number from 0 to 1", "urgency", None),
        ({"urgency": True}, "urgency must be a number from 0 to 1", "urgency", None),
        ({"tags": ["a"] * 51}, "tags must have at most 50 entries", "tags", None),
        ({"tags": ["a", ""]}, f"tags {LABEL}", "tags", None),
        ({"payload": {"k": "x" * 65_529}}, "payload must be at most 65536 bytes", "payload", None),
        (
            {"metadata": {"k": "x" * 16_377}},
            "metadata must be at most 16384 bytes",
            "metadata",
            None,
        ),
        ({"to_identity": "x"}, "to_identity must be an identity id", "to_identity", None),
        ({"parent_id": "x"}, "parent_id must be a signal id", "parent_id", None),
        (
            {"signal_type": "task", "metadata": {"task_type": "t" * 65}},
            f"metadata.task_type {LABEL}",
            "metadata.task_type",
            None,
        ),
        (
            {"signal_type": "task", "metadata": {"task_type": 5}},
            f"metadata.task_type {LABEL}",
            "metadata.task_type",
            None,
        ),
    ],
)
def test_a_refused_field_is_named_with_its_bounds(
    fields: dict[str, Any], message: str, field: str, code: str | None
) -> None:
    with pytest.raises(BadInput) as refused:
        create(NewSignal(**{"signal_type": "pulse", "content": "x", **fields}))
    assert refused.value.message == message
    assert refused.value.details == {"field": field}
    assert refused.value.code == (code or "VALIDATION_INVALID_VALUE")


def test_blank_content_is_refused_as_missing() -> None:
    with pytest.raises(FieldRequired) as refused:
        create(NewSignal("pulse", " \n"))
    assert refused.value.details == {"field": "content"}


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"content": "x" * 65_536}, {"content": "x" * 65_536}),
        ({"from_role": "r" * 64, "to_ring": "r"}, {"from_role": "r" * 64, "to_ring": "r"}),
        ({"tags": ["t" * 64] * 50}, {"tags": ("t" * 64,) * 50}),
        ({"payload": {"k": "x" * 65_528}}, {"payload": '{"k":"' + "x" * 65_528 + '"}'}),
        ({"metadata": {"k": "x" * 16_376}}, {"metadata": '{"k":"' + "x" * 16_376 + '"}'}),
        ({"urgency": 0}, {"urgency": "0"}),
        ({"urgency": 1.0}, {"urgency": "1"}),
        ({"urgency": 1e-7}, {"urgency": "1e-07"}),
        # Only a task's metadata have a task type.
        ({"metadata": {"task_type": 5}}, {"metadata": '{"task_type":5}'}),
        ({"signal_type": "task"}, {"type": "task", "task_status": TaskStatus.OPEN}),
        (
            {"signal_type": "task", "metadata": {"other": 5}},
            {"type": "task", "task_status": TaskStatus.OPEN, "metadata": '{"other":5}'},
        ),
    ],
)
def test_a_field_at_its_bound_is_stored_as_it_is(
    fields: dict[str, Any], stored: dict[str, Any]
) -> None:
    plain = create(NewSignal("pulse", "x"))
    new = NewSignal(**{"signal_type": "pulse", "content": "x", **fields})

    assert create(new) == replace(plain, **stored)


# ---- Who sees and claims it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "resource"),
    [
        ({}, Resource(signal_type="task", task_type="count", ring="inner")),
        ({"metadata": "{}"}, Resource(signal_type="task", task_type="", ring="inner")),
        ({"metadata": '{"task_type":5}'}, Resource(signal_type="task", task_type="", ring="inner")),
        ({"type": "alert"}, Resource(signal_type="alert", task_type=None, ring="inner")),
        ({"to_ring": None}, Resource(signal_type="task", task_type="count", ring="")),
    ],
)
def test_permissions_see_type_task_type_and_ring(
    fields: dict[str, Any], resource: Resource
) -> None:
    assert rules.resource_of(replace(SIGNAL, **fields)) == resource


@pytest.mark.parametrize(
    ("types", "rings", "seen"),
    [
        ((), (), True),
        (("task",), ("inner",), True),
        (("task",), (), True),
        ((), ("inner",), True),
        (("alert",), (), False),
        ((), ("outer",), False),
        (("task",), ("outer",), False),
        (("alert",), ("inner",), False),
    ],
)
def test_a_key_must_allow_both_type_and_ring(
    types: tuple[str, ...], rings: tuple[str, ...], *, seen: bool
) -> None:
    permissions = Permissions(signal_types=types, ring_scopes=rings)

    assert rules.may_see(permissions, SIGNAL) is seen


@pytest.mark.parametrize(
    ("addressed", "may"), [(None, True), ("identity:two", True), ("identity:one", False)]
)
def test_a_signal_is_claimed_by_its_addressee_or_by_anybody(
    addressed: str | None, *, may: bool
) -> None:
    assert rules.may_claim(replace(SIGNAL, to_identity=addressed), "identity:two") is may


# ---- How it is shown ---------------------------------------------------------------------------

CLAIM = {"claimed_by": "identity:two", "claim_expires_at": NOW}
SHOWN_CLAIM = {"claimed_by": "identity:two", "claim_expires_at": "2024-04-24T23:06:40.250Z"}


@pytest.mark.parametrize(
    ("fields", "now", "shown"),
    [
        ({}, NOW, {}),
        ({"task_status": None}, NOW, {"task_status": None}),
        ({"origin_peer": "p"}, NOW, {"origin_peer": "p"}),
        ({"pending": False}, NOW, {"delivery_state": "dispatched"}),
        (
            {"task_status": TaskStatus.CLAIMED, **CLAIM},
            NOW - 1,
            {"task_status": "claimed", **SHOWN_CLAIM},
        ),
        ({"task_status": TaskStatus.CLAIMED, **CLAIM}, NOW, {}),
        ({"task_status": TaskStatus.CLAIMED, **CLAIM}, NOW + 1, {}),
        ({"task_status": TaskStatus.CLAIMED}, NOW, {"task_status": "claimed"}),
        # An acknowledged signal still shows who did it.
        (
            {"task_status": TaskStatus.ACKED, **CLAIM},
            NOW,
            {"task_status": "acked", "delivery_state": "acked", **SHOWN_CLAIM},
        ),
    ],
)
def test_a_signal_is_shown_whole_and_a_claim_until_it_expires(
    fields: dict[str, Any], now: int, shown: dict[str, Any]
) -> None:
    assert rules.view(replace(SIGNAL, **fields), now) == VIEW | shown


@pytest.mark.parametrize(("kind", "status"), [("task", TaskStatus.OPEN), ("alert", None)])
def test_a_signal_as_emitted_has_no_claim(kind: str, status: TaskStatus | None) -> None:
    emitted = replace(SIGNAL, type=kind, task_status=status)
    claimed = replace(
        emitted,
        pending=False,
        task_status=TaskStatus.CLAIMED,
        claimed_by="identity:two",
        claim_expires_at=NOW + 1,
    )

    assert rules.as_emitted(claimed) == emitted


def test_the_body_is_compact_and_in_utf_8() -> None:
    text = rules.body(SIGNAL).decode()

    assert text.startswith(f'{{"id":"signal:{ID}","signal_type":"task","content":"grüße",')
    assert ": " not in text


def test_the_sweeper_fans_out_after_two_minutes() -> None:
    assert rules.OVERDUE_AFTER == 120_000_000
