"""How a signal is shown: the published body, delivery state and claims."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.signals import rules, store
from gatehouse.signals.model import TaskStatus
from support.worlds.signal_values import NOW, WHOLE, create, objects


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
