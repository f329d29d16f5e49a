"""The fast and the slow lane: which webhooks are slow, and who moves their messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from gatehouse.aws.queue import Queue
from gatehouse.core import ids
from gatehouse.core.clock import HOUR, MINUTE, SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.grants import FULL
from gatehouse.core.principal import Principal
from gatehouse.core.request import Answered, Call
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import message_rules, slow_memory
from gatehouse.deliveries.batch import BatchWorker
from gatehouse.deliveries.messages import DeliveryMessage, DeliveryQueues
from gatehouse.deliveries.model import AttemptMessage, DeliveryStatus
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.dynamo.table import transact
from gatehouse.keys import store as key_store
from gatehouse.keys.model import Key
from gatehouse.webhooks import slow_rules, slowness
from gatehouse.webhooks.model import NOT_SLOW, Slowness, Webhook
from support.aws.faults import Wire
from support.aws.memory_dynamo import client_error
from support.worlds.deliveries import ACCOUNT, DeliveryWorld, Inline, records

NOW: Micros = 1_800_000_000 * SECOND
MARKED = Slowness(slow=True, since=NOW, count=1)


def takes(world: DeliveryWorld, seconds: float, code: int = 200) -> Callable[[], int]:
    """Return an answer that takes a time."""

    def answer() -> int:
        world.pass_time(seconds)
        return code

    return answer


def slow_webhook(world: DeliveryWorld, url: str = "https://slow.example/in") -> Webhook:
    """Create a webhook and let its first attempt hang."""
    webhook = world.webhook(url)
    world.receiver.answers[url] = [takes(world, 10, 500)]
    world.fan_out(world.emit())
    assert world.work_next() == []
    return webhook


def lanes(world: DeliveryWorld) -> list[bool]:
    """Say of each message whether it is in the slow lane, in the order of their times."""
    return [body in world.slow for _, body in sorted(world.sent)]


def admin_call(world: DeliveryWorld) -> Call:
    """Return a request of an admin of the account."""
    key = Key("key", ACCOUNT, ACCOUNT, "default", "hk", "", FULL, ACCOUNT, world.time)
    transact(world.table.client, list(key_store.create(world.table, key).values()))
    admin = Principal(key.id, ACCOUNT, ACCOUNT, "hk", FULL, True, "central", "active", False)  # noqa: FBT003
    return Call("request", world.time, admin)


# ---- The mark -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "took", "after"),
    [
        (NOT_SLOW, 5 * SECOND - 1, NOT_SLOW),
        (NOT_SLOW, 5 * SECOND, MARKED),
        (NOT_SLOW, 0, NOT_SLOW),
        (replace(MARKED, since=NOW - 1), 10 * SECOND, replace(MARKED, since=NOW - 1)),
        (replace(MARKED, since=NOW - 1), 2 * SECOND, replace(MARKED, since=NOW - 1)),
        (
            replace(MARKED, since=NOW - 1),
            2 * SECOND - 1,
            Slowness(slow=False, since=NOW - 1, count=1),
        ),
    ],
)
def test_an_attempt_of_5_seconds_marks_and_one_below_2_clears(
    before: Slowness, took: Micros, after: Slowness
) -> None:
    assert slow_rules.after_attempt(before, took, NOW) == after


@pytest.mark.parametrize(
    ("count", "hold"),
    [(1, 0), (2, MINUTE), (3, 2 * MINUTE), (7, 32 * MINUTE), (8, HOUR), (50, HOUR)],
)
def test_a_repeated_mark_stays_for_longer_each_time(count: int, hold: Micros) -> None:
    early = Slowness(slow=True, since=NOW - hold + 1, count=count)
    due = replace(early, since=NOW - hold)

    assert slow_rules.after_attempt(due, 0, NOW) == replace(due, slow=False)
    assert hold == 0 or slow_rules.after_attempt(early, 0, NOW) == early


@pytest.mark.parametrize(("days", "count"), [(1, 1), (0, 4)], ids=["a day later", "within a day"])
def test_marks_are_counted_while_each_is_within_a_day_of_the_last(days: int, count: int) -> None:
    since = NOW - days * 24 * HOUR - (0 if days else MINUTE)
    before = Slowness(slow=False, since=since, count=3)

    assert slow_rules.after_attempt(before, 5 * SECOND, NOW) == Slowness(
        slow=True, since=NOW, count=count
    )


def test_a_slow_attempt_marks_the_webhook_and_a_quick_one_clears_it(world: DeliveryWorld) -> None:
    webhook = slow_webhook(world)
    assert world.reread(webhook).slowness == Slowness(slow=True, since=world.time, count=1)

    assert world.work_next() == []

    assert not world.reread(webhook).slowness.slow
    assert world.reread(webhook).version == webhook.version


def test_the_mark_is_written_only_when_it_changes(world: DeliveryWorld, room_line: Wire) -> None:
    webhook = slow_webhook(world)
    world.receiver.answers[webhook.url] = [takes(world, 10, 500)]
    changed = world.reread(webhook).slowness
    room_line.clear()

    assert world.work_next() == []

    assert world.reread(webhook).slowness == changed
    assert len([one for one in room_line.calls if one == "UpdateItem"]) == 2  # claim and failure


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "TransactionConflictException", "ConditionalCheckFailed"]
)
def test_a_mark_that_cannot_be_written_fails_nothing(
    world: DeliveryWorld, room_line: Wire, code: str
) -> None:
    webhook = world.webhook()
    if code == "ConditionalCheckFailed":
        world.remove(webhook)
    else:

        def refuse(_: int, name: str) -> None:
            raise client_error(name, code)

        room_line.before = refuse

    slowness.note(world.table, webhook, 5 * SECOND, now=world.time)


# ---- Who chooses the lane ------------------------------------------------------------------------


def test_retries_of_a_slow_attempt_go_through_the_slow_lane(world: DeliveryWorld) -> None:
    slow_webhook(world)

    assert lanes(world) == [True]


def test_fan_out_sends_deliveries_to_slow_webhooks_through_the_slow_lane(
    world: DeliveryWorld,
) -> None:
    slow_webhook(world)
    world.sent.clear()
    quick = world.webhook("https://quick.example/in")

    world.fan_out(world.emit())

    found = {
        message_rules.read(body).webhook_id: body in world.slow  # type: ignore[union-attr]
        for _, body in world.sent
    }
    assert found.pop(quick.id) is False
    assert list(found.values()) == [True]


def test_a_replay_and_a_ping_to_a_slow_webhook_use_the_slow_lane(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    assert world.work_next() == []
    slowness.note(world.table, webhook, 5 * SECOND, now=world.time)

    admin = admin_call(world)
    deliveries.replay(
        world.table,
        admin,
        world.outbox,
        delivery_id=world.delivery(signal, webhook).id,
        answered=lambda _: Answered(202, ""),
    )
    deliveries.ping(
        world.table,
        admin,
        world.outbox,
        webhook_id=webhook.id,
        answered=lambda _: Answered(202, ""),
    )

    assert lanes(world) == [True, True]


def test_a_message_for_a_webhook_marked_meanwhile_is_forwarded_before_it_is_claimed(
    world: DeliveryWorld,
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    slowness.note(world.table, webhook, 5 * SECOND, now=world.time)

    assert world.work_next() == []

    assert world.receiver.seen == []
    assert world.delivery(signal, webhook).lease_until == 0
    assert lanes(world) == [True]
    assert world.work_next() == []
    assert world.delivery(signal, webhook).status is DeliveryStatus.DELIVERED


def test_a_remembered_mark_is_not_read_again_for_some_seconds(
    world: DeliveryWorld, room_line: Wire
) -> None:
    webhook = world.webhook()
    world.fan_out(world.emit())
    slowness.note(world.table, webhook, 5 * SECOND, now=world.time)
    body = world.sent[0][1]
    assert world.work(body) == []
    calls = []

    for passed in (0, slow_memory.KNOWN // SECOND - 1, 1):
        world.pass_time(passed)
        room_line.clear()
        assert world.work(body) == []
        calls.append(list(room_line.calls))

    assert calls == [[], [], ["GetItem"]]


def test_a_remembered_mark_that_becomes_old_within_a_batch_still_forwards(
    world: DeliveryWorld,
) -> None:
    webhook = world.webhook()
    world.fan_out(world.emit())
    world.memory.learn(webhook.id, world.time)
    world.pass_time(slow_memory.KNOWN // SECOND - 1)

    def a_second_later_each_time() -> Micros:
        world.pass_time(1)
        return world.time - SECOND

    worker = replace(world.worker, now=a_second_later_each_time)
    BatchWorker(worker, Inline(), memory=world.memory).process(records(world.sent.pop()[1]))

    assert lanes(world) == [True]
    assert world.receiver.seen == []


def test_messages_that_cannot_be_forwarded_come_again(world: DeliveryWorld) -> None:
    quick, slow = world.webhook("https://quick.example/in"), world.webhook()
    world.fan_out(world.emit())
    slowness.note(world.table, slow, 5 * SECOND, now=world.time)
    bodies = [body for _, body in world.sent]

    class Unsendable(Queue):
        def send(self, messages: Sequence[object]) -> None:
            if messages:
                raise Unavailable

    queues = DeliveryQueues(world.queue, Unsendable(world.queue.url, world.queue.client))
    worker = replace(world.worker, queue=queues)
    done = BatchWorker(worker, Inline(), memory=SlowMemory()).process(records(*bodies))

    [failed] = done["batchItemFailures"]
    message = message_rules.read(bodies[int(failed["itemIdentifier"])])
    assert isinstance(message, AttemptMessage)
    assert message.webhook_id == slow.id
    assert [one.url for one in world.receiver.seen] == [quick.url]


def test_each_message_goes_to_the_queue_of_its_lane() -> None:
    sent: list[tuple[str, str]] = []

    class Recorded(Queue):
        def send(self, messages: Sequence[object]) -> None:
            sent.extend((self.url, one.body) for one in messages)  # type: ignore[attr-defined]

    queues = DeliveryQueues(Recorded("fast", None), Recorded("slow", None))  # type: ignore[arg-type]
    queues.send([DeliveryMessage("a", "g"), DeliveryMessage("b", "g", slow=True)])

    assert sorted(sent) == [("fast", "a"), ("slow", "b")]


def test_a_message_that_cannot_be_parsed_fails_alone(world: DeliveryWorld) -> None:
    world.webhook()
    world.fan_out(world.emit())

    assert world.work(world.sent[0][1], "{}", "no json") == ["1", "2"]
    assert len(world.receiver.seen) == 1


# ---- What an environment remembers --------------------------------------------------------------


def attempt(webhook_id: str, account_id: str = "a") -> AttemptMessage:
    return AttemptMessage("d", 1, account_id, webhook_id)


def over_budget() -> SlowMemory:
    """Return a memory in which account `a` has used up its time."""
    memory = SlowMemory()
    for number in range(10):
        memory.note(attempt(f"slow{number}"), 10 * SECOND, NOW)
    return memory


def succeeded(at: Micros) -> Webhook:
    return Webhook("w", "a", "https://one.example/in", 0, last_success_at=at)


def test_an_account_has_a_budget_of_time_for_slow_attempts_of_unmarked_webhooks() -> None:
    memory = SlowMemory()
    memory.note(attempt("one"), 10 * SECOND, NOW)
    memory.note(attempt("two"), 7 * SECOND, NOW)
    assert not memory.is_over_budget(attempt("new"), None, NOW), "at its bound"

    memory.note(attempt("three"), SECOND + 1, NOW)

    assert memory.is_over_budget(attempt("new"), None, NOW)
    assert not memory.is_over_budget(attempt("new", "another account"), None, NOW)


def test_a_webhook_that_was_quick_here_within_a_minute_is_not_concerned() -> None:
    memory = over_budget()
    memory.note(attempt("quick"), SECOND - 1, NOW)

    assert not memory.is_over_budget(attempt("quick"), None, NOW + MINUTE - 1)
    assert memory.is_over_budget(attempt("quick"), None, NOW + MINUTE)
    memory.note(attempt("quick"), SECOND, NOW)
    assert memory.is_over_budget(attempt("quick"), None, NOW)


def test_a_webhook_with_a_success_elsewhere_is_not_concerned_unless_it_was_slow_here() -> None:
    memory = over_budget()
    late = NOW + slow_memory.SUCCESSFUL

    assert not memory.is_over_budget(attempt("w"), succeeded(NOW - slow_memory.SUCCESSFUL + 1), NOW)
    assert memory.is_over_budget(attempt("w"), succeeded(NOW - slow_memory.SUCCESSFUL), NOW)
    assert memory.is_over_budget(attempt("slow1"), succeeded(NOW), late - 1)
    assert not memory.is_over_budget(attempt("slow1"), succeeded(late), late)


def test_an_account_is_forgiven_a_tenth_of_the_time_that_passes() -> None:
    memory = over_budget()
    allowed = (slow_memory.MOST_OWED - slow_memory.BUDGET) * slow_memory.FORGIVEN

    assert memory.is_over_budget(attempt("new"), None, NOW + allowed - slow_memory.FORGIVEN)
    assert not memory.is_over_budget(attempt("new"), None, NOW + allowed)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_memory, "_MOST_WEBHOOKS", 2)
    memory = SlowMemory()
    for name in ("a", "b", "a", "c"):
        memory.learn(name, NOW)

    assert [memory.is_marked(attempt(name), NOW) for name in ("a", "b", "c")] == [
        True,
        False,
        True,
    ]


def test_many_webhooks_of_one_account_that_hang_cost_an_environment_one_batch(
    world: DeliveryWorld,
) -> None:
    first = [world.webhook(f"https://r{number}.example/in") for number in range(3)]
    for webhook in first:
        world.receiver.answers[webhook.url] = [takes(world, 10, 500)]
    world.fan_out(world.emit())
    assert world.work(*[body for _, body in world.sent]) == []
    world.sent.clear()
    new = world.webhook("https://new.example/in")
    world.fan_out(world.emit())
    [body] = [body for _, body in world.sent if new.id in body]

    assert world.work(body) == []

    assert new.url not in [one.url for one in world.receiver.seen]
    assert body in world.slow


def test_another_account_is_not_concerned(world: DeliveryWorld) -> None:
    for number in range(10):
        message = AttemptMessage("d", 1, ids.new(world.time), f"w{number}")
        world.memory.note(message, 10 * SECOND, world.time)
    world.webhook()
    world.fan_out(world.emit())

    assert world.work_next() == []

    assert len(world.receiver.seen) == 1
