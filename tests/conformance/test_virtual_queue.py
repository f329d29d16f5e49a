"""The queue in virtual time delays, serves and returns messages as SQS documents it."""

from __future__ import annotations

from support.aws.virtual_queue import RECEIVE, VirtualQueue
from support.aws.virtual_time import VirtualTime


def test_a_delayed_message_is_received_when_its_delay_is_over() -> None:
    time = VirtualTime()
    queue, received = VirtualQueue(time), list[tuple[str, float]]()

    def receive() -> None:
        for _ in range(2):
            messages = queue.receive(10)
            received.extend((one.body, round(time.seconds - RECEIVE, 3)) for one in messages)
            queue.delete(messages)

    queue.put("late", delay=900)
    queue.put("now")
    time.run(receive)

    assert received == [("now", 0.0), ("late", 900.0)]


def test_a_message_that_is_not_deleted_comes_back_and_fails_in_the_end() -> None:
    time = VirtualTime()
    queue, received = VirtualQueue(time, visibility=30, receives=3), list[tuple[int, int]]()

    def receive() -> None:
        while True:
            [one] = queue.receive(10)
            received.append((one.receives, round(time.seconds)))

    queue.put("again")
    time.spawn(receive)
    time.run(until=200_000_000)

    assert received == [(1, 0), (2, 30), (3, 60)]
    assert [one.body for one in queue.failed] == ["again"]
    assert sum(queue.in_flight.values()) == 0


def test_a_batch_is_full_or_as_old_as_its_window() -> None:
    time = VirtualTime()
    queue, batches = VirtualQueue(time), list[tuple[int, float]]()

    def receive() -> None:
        for most in (10, 30, 30):
            messages = queue.receive(most, window=0 if most == 10 else 2)
            batches.append((len(messages), round(time.seconds, 1)))
            queue.delete(messages)

    for number in range(45):
        queue.put(str(number))
    time.run(receive)

    assert batches == [(10, 0.0), (30, 0.0), (5, 2.0)]


def test_a_group_with_most_of_the_messages_in_flight_lets_the_others_go_first() -> None:
    time = VirtualTime()
    queue, groups = VirtualQueue(time), list[str]()

    def act() -> None:
        for _ in range(100):
            queue.put("many", group="noisy")
        queue.receive(10)
        queue.receive(10)
        time.sleep(1)  # until the groups are judged again
        for number in range(5):
            queue.put("few", group=f"quiet {number}")
        groups.extend(one.group for one in queue.receive(10))

    time.run(act)

    assert groups == [f"quiet {number}" for number in range(5)] + ["noisy"] * 5
