"""Killed at every call to the outside, before it and after it: table, queue, KMS and receiver.

Then time passes, what was being worked on comes back after its 180 seconds, and the sweeper comes
each minute: every delivery ends, its POSTs carry one id and one body, and no attempt is missing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gatehouse.audit import rules as audit
from gatehouse.audit import store as audit_store
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.attempt import Bench, Report
from gatehouse.deliveries.model import GRACE, Death, Delivery, Recover, Status, Wake
from gatehouse.dynamo.table import Tables, transact
from gatehouse.outbound.client import RequestFailed
from gatehouse.secrets import actions as vaults
from gatehouse.signals.model import Signal
from gatehouse.webhooks.model import Webhook
from gatehouse.webhooks.secret_cache import Opened
from support.aws.faults import Killed, wire
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.worlds.deliveries import ACCOUNT, Works

MOST_CALLS = 60
MOST_STEPS = 200
VISIBLE_AGAIN = 180 * SECOND


@dataclass
class Doom:
    """Counts the calls to the outside, and kills once."""

    when: str = "before"
    at: int | None = None
    calls: int = 0

    def before(self, *_: Any) -> None:
        self.calls += 1
        self._strike("before")

    def after(self, *_: Any) -> None:
        self._strike("after")

    def _strike(self, when: str) -> None:
        if when == self.when and self.calls == self.at:
            self.at = None
            raise Killed


@dataclass
class _Mailbox:
    inner: Queue
    doom: Doom

    def send(self, messages: list[Outgoing]) -> None:
        if messages:
            self.doom.before()
            self.inner.send(messages)
            self.doom.after()

    def depth(self) -> Any:
        self.doom.before()
        found = self.inner.depth()
        self.doom.after()
        return found


class Mortal(Works):
    """Works whose processes can be killed."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, vaults.vault(tables.main))
        self.tables = tables
        self.doom = Doom()
        self.swept_at = self.time
        self.signals: list[Signal] = []
        self.webhooks: list[Webhook] = []

    @property
    def bench(self) -> Bench:
        return replace(super().bench, post=self._post)

    @property
    def mailbox(self) -> Queue:
        return _Mailbox(super().mailbox, self.doom)  # type: ignore[return-value]

    def _post(self, *given: Any, **named: Any) -> Any:
        self.doom.before()
        try:
            return self.receiver(*given, **named)
        except RequestFailed:
            self.doom.after()
            raise
        finally:
            self.doom.after()

    def take(self) -> Report | None:
        """Work on a message; one whose worker died is visible again after a while."""
        _, body = min(self.sent)
        try:
            return super().take()
        except Killed:
            self.sent.append((self.time + VISIBLE_AGAIN, body))
            raise

    def resume(self, webhook: Webhook) -> None:
        """Make a webhook active, with the note that its deliveries go on and without a message."""
        self.switch(webhook, active=True)
        transact(
            self.table.client, [store.mark(self.table, Wake(ACCOUNT, webhook.id), now=self.time)]
        )

    def all_deliveries(self) -> list[Delivery | None]:
        """Read each signal's delivery to each webhook."""
        return [
            store.find(self.table, rules.id_of(signal.id, webhook.id))
            for signal in self.signals
            for webhook in self.webhooks
        ]

    def is_quiet(self) -> bool:
        """Tell whether nothing goes on by itself any more."""
        return not self.sent and all(
            one is not None and (not one.is_open or one.parked) for one in self.all_deliveries()
        )

    def finish(self) -> None:
        """Let time pass until all is quiet, and once more after every webhook is active again."""
        self._pass()
        for webhook in self.webhooks:
            there = self.table.get({"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id})
            if there is not None and not there["active"]:
                self.receiver.always = 200
                self.resume(webhook)
        self.swept_at = self.time
        if any(one is not None and one.is_open for one in self.all_deliveries()):
            self.sweep()
        self._pass()

    def _pass(self) -> None:
        for _ in range(MOST_STEPS):
            if self.is_quiet():
                return
            sweep_at = max(self.time, self.swept_at + MINUTE)
            if self.sent and min(self.sent)[0] <= sweep_at:
                self.take()
                continue
            self.time = self.swept_at = sweep_at
            if self._has_overdue():
                self.sweep()
        raise AssertionError("it does not end")

    def _has_overdue(self) -> bool:
        """Tell whether a sweep would find anything: most do not, and moto is slow to say so."""
        kept = self.all_deliveries()
        due = [one.due_at for one in kept if one is not None and one.due_at is not None]
        lost = None in kept and self.time > self.signals[0].created_at + GRACE
        return lost or min(due, default=self.time + 1) <= self.time or bool(self._marks())

    def _marks(self) -> list[Any]:
        return store.marks(self.table, limit=1)


@dataclass(frozen=True)
class Case:
    """What is done and killed, and how the deliveries then end. `fresh` deliveries have no past."""

    act: Callable[[], Any]
    end: Status = Status.DELIVERED
    reason: Death | None = None
    fresh: bool = True


Prepare = Callable[[Mortal], Case]


def _ready(works: Mortal, webhooks: int = 1, signals: int = 1) -> None:
    works.webhooks = [works.webhook(f"https://r{n}.example/in") for n in range(webhooks)]
    works.signals = [works.emit() for _ in range(signals)]


def _sent(works: Mortal) -> None:
    _ready(works)
    works.fan_out(works.signals[0])


def _dead(works: Mortal) -> None:
    _ready(works, signals=2)
    works.receiver.always = 500
    for signal in works.signals:
        works.fan_out(signal)
    works.run()
    works.receiver.always = 200
    works.pass_time(1)


def _parked(works: Mortal) -> None:
    _ready(works, signals=2)
    works.switch(works.webhooks[0], active=False)
    for signal in works.signals:
        works.fan_out(signal)
    works.run()
    works.resume(works.webhooks[0])


def _fan_out(works: Mortal) -> Case:
    _ready(works, webhooks=3)
    return Case(lambda: works.fan_out(works.signals[0]))


def _success(works: Mortal) -> Case:
    _sent(works)
    return Case(works.take)


def _success_that_clears_failing(works: Mortal) -> Case:
    _dead(works)
    works.signals = [works.emit()]
    works.fan_out(works.signals[0])
    return Case(works.take, fresh=False)


def _retry(works: Mortal) -> Case:
    _sent(works)
    works.receiver.answers[works.webhooks[0].url] = [500, 500]
    return Case(works.take)


def _timeout(works: Mortal) -> Case:
    _sent(works)
    works.receiver.answers[works.webhooks[0].url] = ["timeout", "timeout"]
    return Case(works.take)


def _long_wait(works: Mortal) -> Case:
    works.webhooks = [works.webhook(retry_schedule=(1_200, 5))]
    works.signals = [works.emit()]
    works.fan_out(works.signals[0])
    works.receiver.answers[works.webhooks[0].url] = [500]
    return Case(works.take)


def _dead_letter(works: Mortal) -> Case:
    _sent(works)
    works.receiver.always = 500
    for _ in range(3):
        works.take()
    return Case(works.take, Status.DEAD_LETTER, Death.EXHAUSTED)


def _gone(works: Mortal) -> Case:
    _sent(works)
    works.receiver.always = 410
    return Case(works.take)


def _park(works: Mortal) -> Case:
    _sent(works)
    works.switch(works.webhooks[0], active=False)
    return Case(works.take)


def _deleted(works: Mortal) -> Case:
    _sent(works)
    works.remove(works.webhooks[0])
    return Case(works.take, Status.DEAD_LETTER, Death.WEBHOOK_DELETED)


def _wake(works: Mortal) -> Case:
    _parked(works)
    works.sent.append((works.time, rules.write(Wake(ACCOUNT, works.webhooks[0].id))))
    return Case(works.take)


def _recover(works: Mortal) -> Case:
    _dead(works)
    message = Recover(ACCOUNT, works.webhooks[0].id, rules.lowest_id(0), works.time)
    works.sent.append((works.time, rules.write(message)))
    return Case(works.take)


def _sweep_a_lost_record(works: Mortal) -> Case:
    _ready(works, webhooks=2)
    works.pass_time(121)
    return Case(works.sweep)


def _sweep_lost_messages(works: Mortal) -> Case:
    _ready(works, webhooks=2)
    works.fan_out(works.signals[0])
    works.sent.clear()
    works.pass_time(121)
    return Case(works.sweep)


def _sweep_a_mark(works: Mortal) -> Case:
    _parked(works)
    return Case(works.sweep)


CASES: list[Prepare] = [_fan_out, _success, _retry, _recover]
# As instructive, and a minute of work together; a sweep asks each of 32 shards.
MORE_CASES: list[Prepare] = [
    _success_that_clears_failing,
    _timeout,
    _long_wait,
    _dead_letter,
    _gone,
    _park,
    _deleted,
    _wake,
    _sweep_a_lost_record,
    _sweep_lost_messages,
    _sweep_a_mark,
]


@dataclass
class Snapshot:
    """Works as they stood, to be killed in many ways from there."""

    works: Mortal
    tables: Rewind = field(init=False)
    kept: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = Rewind(self.works.tables)
        self.kept = copy.deepcopy(self._now())

    def back(self) -> None:
        """Begin again, in a fresh process."""
        self.tables.back()
        kept = copy.deepcopy(self.kept)
        self.works.time, self.works.sent, self.works.swept_at = (
            kept["time"],
            kept["sent"],
            kept["time"],
        )
        self.works.receiver.answers = kept["answers"]
        self.works.receiver.always = kept["always"]
        self.works.receiver.seen = kept["seen"]
        self.works.opened = Opened(self.works.table, self.works.vault)

    def _now(self) -> dict[str, Any]:
        works = self.works
        receiver = works.receiver
        return {
            "time": works.time,
            "sent": works.sent,
            "answers": receiver.answers,
            "always": receiver.always,
            "seen": receiver.seen,
        }


@pytest.fixture
def works(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> Iterator[Mortal]:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    works = Mortal(tables)
    doom = works.doom
    kms = works.vault.client
    with wire(works.table.client) as to_table, wire(kms, service="kms") as to_kms:
        for line in (to_table, to_kms):
            line.before, line.after = doom.before, doom.after
        yield works


def _named(prepare: Prepare) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "prepare",
    [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_CASES)],
    ids=_named,
)
def test_a_death_at_any_call_loses_no_delivery_and_repeats_under_one_id(
    works: Mortal, prepare: Prepare, when: str
) -> None:
    case = prepare(works)
    start, deaths = Snapshot(works), 0
    for number in range(1, MOST_CALLS):
        start.back()
        if not _dies(works, when, number, case.act):
            break
        deaths += 1
        works.finish()
        _check(works, case)
    else:
        pytest.fail("it never came to an end")
    works.finish()
    _check(works, case)
    assert deaths >= 3, "it was killed at least three times"


def _dies(works: Mortal, when: str, number: int, act: Callable[[], Any]) -> bool:
    works.doom.calls, works.doom.when, works.doom.at = 0, when, number
    try:
        act()
    except Killed:
        return True
    finally:
        works.doom.at = None
    return False


def _check(works: Mortal, case: Case) -> None:
    state = State(works.tables)
    made = {item["pk"] for item in state.main if item["sk"] == "DELIVERY"}
    deliveries = [one for one in works.all_deliveries() if one is not None]
    assert len(deliveries) == len(works.signals) * len(works.webhooks)
    if case.fresh:
        assert made == {f"DELIVERY#{one.id}" for one in deliveries}, "a delivery too many"
    for delivery in deliveries:
        assert (delivery.status, delivery.reason) == (case.end, case.reason)
        attempts = works.attempts(delivery)
        assert [one.number for one in attempts] == [*range(1, delivery.attempt_count + 1)]
        posts = [
            one
            for one in works.receiver.seen
            if one.headers["webhook-id"] == f"delivery:{delivery.id}"
        ]
        assert len({one.body for one in posts}) == min(1, len(posts)), "another body"
        assert len(attempts) <= len(posts) <= len(attempts) + 1, "one death, one repeat at most"
        if case.end is Status.DELIVERED:
            assert attempts[-1].status_code == 200
    asked = {one.headers["webhook-id"].removeprefix("delivery:") for one in works.receiver.seen}
    assert {f"DELIVERY#{one}" for one in asked} <= made, "a POST of nothing that is kept"
    head = audit_store.read_head(works.table, ACCOUNT)
    trail = state.events(ACCOUNT)
    assert audit.verify(trail, head) == []
    assert head.seq == len(trail)
