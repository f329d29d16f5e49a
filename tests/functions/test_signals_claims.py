"""Claiming and acknowledging signals by their routes."""

from __future__ import annotations

from typing import Any

import pytest

from support.actors.people import Holder, People
from support.actors.signal_routes import DAYS, MINUTES, NEVER, act, check, emitted, show
from support.aws.api_gateway import Front
from support.aws.invocation import Answer
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("held")


def test_a_task_is_claimed_renewed_and_acknowledged(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    task = emitted(front, admin, signal_type="task")
    one, other = people.employee(admin), people.employee(admin)
    check(act(front, one, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    taken = act(front, one, "claim", task).json()["data"]
    assert taken == task | {
        "task_status": "claimed",
        "claimed_by": f"identity:{one.identity_id}",
        "claim_expires_at": held.text(seconds=15 * MINUTES),
    }
    assert show(front, other, task).json()["data"] == taken
    for what in ("claim", "ack"):
        check(act(front, other, what, task), 409, "SIGNAL_CLAIM_CONFLICT")
    held.advance(seconds=10 * MINUTES)
    renewed = act(front, one, "claim", task).json()["data"]
    assert renewed["claim_expires_at"] == held.text(seconds=15 * MINUTES)
    done = act(front, one, "ack", task)
    assert done.status == 200
    assert done.json()["data"] == task | {
        "task_status": "acked",
        "claimed_by": f"identity:{one.identity_id}",
        "delivery_state": "acked",
    }
    held.advance(seconds=DAYS)
    again = act(front, one, "ack", task)
    assert (again.status, again.json()["data"]) == (200, done.json()["data"])
    check(act(front, other, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    for holder in (one, other):
        check(act(front, holder, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")


def test_another_identity_may_claim_after_the_lease_expired(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    task, other = emitted(front, admin, signal_type="task"), people.employee(admin)
    assert act(front, admin, "claim", task).status == 200
    held.advance(seconds=15 * MINUTES, micros=-1)
    check(act(front, other, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert show(front, admin, task).json()["data"]["task_status"] == "claimed"
    held.advance(micros=1)
    assert show(front, admin, task).json()["data"] == task
    check(act(front, admin, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, other, "claim", task).status == 200
    check(act(front, admin, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, other, "ack", task).status == 200


def test_another_key_of_the_same_identity_may_acknowledge_the_claim(
    front: Front, people: People, admin: Holder
) -> None:
    task, second = emitted(front, admin, signal_type="task"), people.key(admin)
    assert act(front, admin, "claim", task).status == 200
    assert act(front, second, "ack", task).status == 200


def test_only_the_identity_a_signal_is_addressed_to_may_claim_it(
    front: Front, people: People, admin: Holder
) -> None:
    employee = people.employee(admin)
    task = emitted(front, admin, signal_type="task", to_identity=employee.identity_id)
    check(act(front, admin, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, employee, "claim", task).status == 200


def test_a_signal_of_any_type_may_be_claimed(front: Front, admin: Holder, held: HeldClock) -> None:
    alert = emitted(front, admin, signal_type="alert")
    assert act(front, admin, "claim", alert).json()["data"]["task_status"] == "claimed"
    held.advance(seconds=15 * MINUTES)
    assert show(front, admin, alert).json()["data"]["task_status"] is None


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_claim_and_ack_require_a_signal_id(front: Front, admin: Holder, what: str) -> None:
    def post(body: Any) -> Answer:
        return front("POST", f"/{what}", key=admin.key, body=body)

    check(post({}), 400, "VALIDATION_FIELD_REQUIRED", "signal_id")
    check(post({"signal_id": 5}), 400, "VALIDATION_INVALID_TYPE", "signal_id")
    for odd in ("", "x", f"identity:{NEVER}", "signal:"):
        check(post({"signal_id": odd}), 400, "VALIDATION_INVALID_VALUE", "signal_id")
    for unknown in (NEVER, "ffffffff-ffff-4fff-bfff-ffffffffffff"):
        check(post({"signal_id": unknown}), 404, "SIGNAL_NOT_FOUND")
