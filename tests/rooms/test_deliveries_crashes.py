"""Deliveries when the process dies before or after any call to table, queue, KMS or receiver.

Then time passes: SQS delivers the message again after 180 seconds, and the sweeper runs every
minute. Every delivery must end, its POSTs must have one id and one body, and no attempt may miss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatehouse.audit import rules as audit
from gatehouse.audit import store as audit_store
from gatehouse.audit.model import Chain
from gatehouse.deliveries import message_rules, rules
from gatehouse.deliveries.model import (
    DeadLetterReason,
    DeliveryStatus,
    DueMessage,
    FanOutMessage,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.dynamo import lanes
from gatehouse.dynamo.table import Tables
from gatehouse.webhooks import slowness
from gatehouse.webhooks.secret_cache import SecretCache
from support.aws.faults import Killed, wire
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.worlds.deliveries import ACCOUNT, in_turn
from support.worlds.killable_deliveries import KillableWorld

MOST_CALLS = 200


@dataclass(frozen=True)
class Case:
    """What is done while the process dies, and how the deliveries end.

    `fresh`: the table has no deliveries from before.
    """

    act: Callable[[], Any]
    end: DeliveryStatus = DeliveryStatus.DELIVERED
    reason: DeadLetterReason | None = None
    fresh: bool = True


Prepare = Callable[[KillableWorld], Case]


def _prepared(world: KillableWorld, webhooks: int = 1, signals: int = 1) -> None:
    world.webhooks = [world.webhook(f"https://r{n}.example/in") for n in range(webhooks)]
    world.signals = [world.emit() for _ in range(signals)]


def _fanned_out(world: KillableWorld) -> None:
    _prepared(world)
    world.fan_out(world.signals[0])


def _with_dead_letters(world: KillableWorld) -> None:
    _prepared(world, signals=2)
    world.receiver.always = 500
    for signal in world.signals:
        world.fan_out(signal)
    world.run()
    world.receiver.always = 200
    world.pass_time(1)


def _with_parked(world: KillableWorld) -> None:
    _prepared(world, signals=2)
    world.set_active(world.webhooks[0], active=False)
    for signal in world.signals:
        world.fan_out(signal)
    world.run()
    world.resume(world.webhooks[0])


def _fan_out(world: KillableWorld) -> Case:
    _prepared(world, webhooks=3)
    return Case(lambda: world.fan_out(world.signals[0]))


def _fan_out_of_records(world: KillableWorld) -> Case:
    _prepared(world, signals=3)
    return Case(lambda: world.fan_out_records(world.signals))


def _fan_out_by_message(world: KillableWorld) -> Case:
    _prepared(world, webhooks=2)
    world.queue_message(FanOutMessage(ACCOUNT, world.signals[0].id))
    return Case(world.process_next)


def _success(world: KillableWorld) -> Case:
    _fanned_out(world)
    return Case(world.process_next)


def _success_that_clears_failing(world: KillableWorld) -> Case:
    _with_dead_letters(world)
    world.signals = [world.emit()]
    world.fan_out(world.signals[0])
    return Case(world.process_next, fresh=False)


def _retry(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.receiver.answers[world.webhooks[0].url] = [500, 500]
    return Case(world.process_next)


def _timeout(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.receiver.answers[world.webhooks[0].url] = ["timeout", "timeout"]
    return Case(world.process_next)


def _slow(world: KillableWorld) -> Case:
    _fanned_out(world)
    url = world.webhooks[0].url
    world.receiver.answers[url] = [lambda: (world.pass_time(10), 500)[1]]
    return Case(world.process_next)


def _forwarded(world: KillableWorld) -> Case:
    _fanned_out(world)
    slowness.note(world.table, world.webhooks[0], slowness.SLOW, now=world.time)
    return Case(world.process_next)


def _in_the_slow_lane(world: KillableWorld) -> Case:
    _slow(world)
    world.process_next()
    return Case(world.process_next, fresh=False)


def _long_wait(world: KillableWorld) -> Case:
    world.webhooks = [world.webhook(retry_schedule=(1_200, 5))]
    world.signals = [world.emit()]
    world.fan_out(world.signals[0])
    world.receiver.answers[world.webhooks[0].url] = [500]
    return Case(world.process_next)


def _dead_letter(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.receiver.always = 500
    for _ in range(3):
        world.process_next()
    return Case(world.process_next, DeliveryStatus.DEAD_LETTER, DeadLetterReason.EXHAUSTED)


def _answered_410(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.receiver.always = 410
    return Case(world.process_next)


def _paused(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.set_active(world.webhooks[0], active=False)
    return Case(world.process_next)


def _deleted(world: KillableWorld) -> Case:
    _fanned_out(world)
    world.remove(world.webhooks[0])
    return Case(world.process_next, DeliveryStatus.DEAD_LETTER, DeadLetterReason.WEBHOOK_DELETED)


def _unpark(world: KillableWorld) -> Case:
    _with_parked(world)
    world.queue_message(UnparkMessage(ACCOUNT, world.webhooks[0].id))
    return Case(world.process_next)


def _recover(world: KillableWorld) -> Case:
    _with_dead_letters(world)
    message = RecoverMessage(ACCOUNT, world.webhooks[0].id, rules.lowest_id(0), world.time)
    world.queue_message(message)
    return Case(world.process_next)


def _sweep_a_lost_record(world: KillableWorld) -> Case:
    _prepared(world, webhooks=2)
    world.pass_time(121)
    return Case(world.sweep_only)


def _sweep_lost_messages(world: KillableWorld) -> Case:
    _prepared(world, webhooks=2)
    world.fan_out(world.signals[0])
    world.sent.clear()
    world.pass_time(121)
    return Case(world.sweep_only)


def _send_due(world: KillableWorld) -> Case:
    _prepared(world, webhooks=2)
    world.fan_out(world.signals[0])
    world.sent.clear()
    world.pass_time(121)
    world.sweep_only()
    assert {type(message_rules.read(body)) for _, body in world.sent} == {DueMessage}
    return Case(world.process_next)


def _sweep_a_marker(world: KillableWorld) -> Case:
    _with_parked(world)
    world.pass_time(121)
    return Case(world.sweep_only)


def _last_pass(world: KillableWorld) -> Case:
    """Nothing is left to replay: the message deletes the marker."""
    _with_dead_letters(world)
    message = RecoverMessage(ACCOUNT, world.webhooks[0].id, rules.lowest_id(0), world.time)
    world.queue_message(message)
    world.run()
    assert world.markers()
    world.pass_time(300)
    world.sweep_only()
    return Case(world.process_next)


CASES: list[Prepare] = [
    _fan_out_of_records,
    _fan_out_by_message,
    _success,
    _retry,
    _forwarded,
    _recover,
]
# Together these take a minute, because a sweep queries each of 96 shards.
MORE_CASES: list[Prepare] = [
    _slow,
    _in_the_slow_lane,
    _fan_out,
    _success_that_clears_failing,
    _timeout,
    _long_wait,
    _dead_letter,
    _answered_410,
    _paused,
    _deleted,
    _unpark,
    _sweep_a_lost_record,
    _sweep_lost_messages,
    _send_due,
    _sweep_a_marker,
    _last_pass,
]


@dataclass
class Snapshot:
    """A prepared world, which every kill starts from."""

    world: KillableWorld
    tables: Rewind = field(init=False)
    saved: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = Rewind(self.world.tables)
        self.saved = copy.deepcopy(self._state())

    def restore(self) -> None:
        """Go back to the prepared world, with a new process."""
        self.tables.back()
        saved = copy.deepcopy(self.saved)
        world, receiver = self.world, self.world.receiver
        world.time = world.swept_at = saved["time"]
        world.sent, world.slow = saved["sent"], saved["slow"]
        receiver.answers, receiver.always = saved["answers"], saved["always"]
        receiver.seen = saved["seen"]
        world.secrets = SecretCache(world.table, world.vault)
        world.memory = SlowMemory()

    def _state(self) -> dict[str, Any]:
        receiver = self.world.receiver
        return {
            "time": self.world.time,
            "sent": self.world.sent,
            "slow": self.world.slow,
            "answers": receiver.answers,
            "always": receiver.always,
            "seen": receiver.seen,
        }


@pytest.fixture
def world(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> Iterator[KillableWorld]:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    aws.setattr(lanes, "each", in_turn)
    world = KillableWorld(tables)
    kill_switch = world.kill_switch
    kms = world.vault.client
    with wire(world.table.client) as to_table, wire(kms, service="kms") as to_kms:
        for line in (to_table, to_kms):
            line.before, line.after = kill_switch.before, kill_switch.after
        yield world


def _named(prepare: Prepare) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "prepare",
    [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_CASES)],
    ids=_named,
)
def test_a_crash_at_any_call_loses_no_delivery_and_repeats_under_one_id(
    world: KillableWorld, prepare: Prepare, when: str
) -> None:
    case = prepare(world)
    start, crashes = Snapshot(world), 0
    for number in range(1, MOST_CALLS):
        start.restore()
        if not _dies(world, when, number, case.act):
            break
        crashes += 1
        world.finish()
        _check(world, case)
    else:
        pytest.fail(f"more than {MOST_CALLS} calls")
    world.finish()
    _check(world, case)
    assert crashes >= 2


def _dies(world: KillableWorld, when: str, number: int, act: Callable[[], Any]) -> bool:
    world.kill_switch.calls, world.kill_switch.when, world.kill_switch.at = 0, when, number
    try:
        act()
    except Killed:
        return True
    finally:
        world.kill_switch.at = None
    return False


def _check(world: KillableWorld, case: Case) -> None:
    state = State(world.tables)
    stored = {item["sk"] for item in state.main if item["pk"].startswith("DELIVERY#")}
    deliveries = [one for one in world.all_deliveries() if one is not None]
    assert len(deliveries) == len(world.signals) * len(world.webhooks)
    if case.fresh:
        assert stored == {one.id for one in deliveries}, "an additional delivery"
    for delivery in deliveries:
        assert (delivery.status, delivery.reason) == (case.end, case.reason)
        attempts = world.attempts(delivery)
        assert [one.number for one in attempts] == [*range(1, delivery.attempt_count + 1)]
        posts = [
            one
            for one in world.receiver.seen
            if one.headers["webhook-id"] == f"delivery:{delivery.id}"
        ]
        assert len({one.body for one in posts}) == min(1, len(posts)), (
            "two attempts had different bodies"
        )
        assert len(attempts) <= len(posts) <= len(attempts) + 1, (
            "more than one repeat after one crash"
        )
        if case.end is DeliveryStatus.DELIVERED:
            assert attempts[-1].status_code == 200
    posted = {one.headers["webhook-id"].removeprefix("delivery:") for one in world.receiver.seen}
    assert posted <= stored, "a POST of a delivery that is not stored"
    head = audit_store.read_head(world.table, ACCOUNT, Chain.MACHINE)
    trail = state.events(ACCOUNT, Chain.MACHINE)
    assert audit.verify(trail, head) == []
    assert head.seq == len(trail)
