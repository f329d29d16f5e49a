"""What stream records change in the counters, for any order and division into batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.deliveries.model import DeliveryStatus
from gatehouse.health_metrics import rules
from gatehouse.health_metrics.model import Portion, Sums
from support.aws.stream_records import Item, Stream, delivery, record, signal
from support.checks.examples import at_most

AT = 29_920_890 * MINUTE + 17 * SECOND
MINUTE_OF_IT = 29_920_890


def _changed(old: Item | None, new: Item | None) -> Any:
    counted = rules.change_of(record(1, old, new))
    if counted is None:
        return None
    account, sums = counted
    return account, dict(sums.totals), dict(sums.minutes)


def _acked(**fields: Any) -> Item:
    return signal("a", "s", at=AT, task_status="acked", **fields)


SIGNAL = signal("a", "s", at=AT)
PING = signal("a", "s", at=AT, type="ping")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, SIGNAL, ("a", {}, {MINUTE_OF_IT: 1})),
        (None, PING, None),
        (SIGNAL, {**SIGNAL, "claimed_by": "x"}, None),
        (SIGNAL, None, None),
        (SIGNAL, _acked(), ("a", {"acked": 1}, {})),
        (_acked(), _acked(claimed_by="x"), None),
        (_acked(), None, ("a", {"acked": -1}, {})),
        (_acked(), SIGNAL, ("a", {"acked": -1}, {})),
        (None, _acked(), ("a", {"acked": 1}, {MINUTE_OF_IT: 1})),
        (None, delivery("b", "d", "pending"), ("b", {"pending": 1}, {})),
        (None, delivery("b", "d", "delivered"), ("b", {"delivered": 1}, {})),
        (delivery("b", "d", "pending"), delivery("b", "d", "retrying"), None),
        (delivery("b", "d", "pending"), delivery("b", "d", "pending", parked="paused"), None),
        (
            delivery("b", "d", "retrying"),
            delivery("b", "d", "delivered"),
            ("b", {"pending": -1, "delivered": 1}, {}),
        ),
        (
            delivery("b", "d", "dead_letter"),
            delivery("b", "d", "pending"),
            ("b", {"dead_letter": -1, "pending": 1}, {}),
        ),
        (delivery("b", "d", "dead_letter"), None, ("b", {"dead_letter": -1}, {})),
        (None, {"pk": "ATTEMPT#d", "sk": "000001", "status": "delivered"}, None),
        (None, {"pk": "STATS#a", "sk": "TOTAL", "pending": 1}, None),
        (None, {"pk": "SIGNALS", "sk": "x"}, None),
    ],
)
def test_a_record_changes_totals_by_the_difference_of_its_images(
    old: Item | None, new: Item | None, expected: Any
) -> None:
    assert _changed(old, new) == expected


def test_every_status_of_a_delivery_has_a_total() -> None:
    for status in DeliveryStatus:
        _, totals, _ = _changed(None, delivery("a", "d", status.value))
        assert list(totals.values()) == [1]


def test_other_attributes_of_a_signal_are_not_parsed() -> None:
    odd = record(1, None, SIGNAL)
    odd["dynamodb"]["NewImage"]["payload"] = {"SS": ["what we never write"]}

    assert rules.change_of(odd) is not None


# ---- Portions ----------------------------------------------------------------------------------


def _arrivals(count: int, *, first: int = 8, accounts: int = 1) -> list[dict[str, Any]]:
    return [
        record(first + number, None, signal(f"a{number % accounts}", f"s{number}", at=AT))
        for number in range(count)
    ]


def test_a_batch_is_one_portion_up_to_its_last_record() -> None:
    (portion,) = rules.portions(_arrivals(5), after=None)

    assert portion == Portion(f"{12:040d}", {"a0": Sums(Counter(), Counter({MINUTE_OF_IT: 5}))})


def test_sequence_numbers_are_compared_as_numbers() -> None:
    (portion,) = rules.portions(_arrivals(5), after=f"{9:040d}")

    assert portion.upto == f"{12:040d}"
    assert portion.sums["a0"].minutes == {MINUTE_OF_IT: 3}


def test_records_up_to_the_position_are_skipped() -> None:
    assert list(rules.portions(_arrivals(5), after=f"{12:040d}")) == []
    assert list(rules.portions(_arrivals(5), after=f"{10**39:040d}")) == []


def test_a_record_that_is_twice_in_a_batch_counts_once() -> None:
    arrivals = _arrivals(3)
    (portion,) = rules.portions([*arrivals, *arrivals], after=None)

    assert portion.sums["a0"].minutes == {MINUTE_OF_IT: 3}


def test_changes_that_cancel_out_still_move_the_position() -> None:
    """Else a repeat that starts between them would count only the second."""
    stream = Stream()
    item = delivery("a", "d", "pending")
    stream.put(item)
    stream.remove(item)
    (portion,) = rules.portions(stream.records, after=None)

    last = stream.records[-1]["dynamodb"]["SequenceNumber"]
    assert portion.upto == last.zfill(40)
    assert portion.sums["a"].totals == {"pending": 0}


def test_a_batch_of_many_accounts_becomes_several_portions_in_order() -> None:
    portions = list(rules.portions(_arrivals(125, accounts=125), after=None))

    assert [len(portion.sums) for portion in portions] == [99, 26]
    assert [portion.upto for portion in portions] == [f"{8 + 98:040d}", f"{8 + 124:040d}"]


def test_a_portion_changes_at_most_the_allowed_number_of_items() -> None:
    """An account has one item for each hour and one for its totals."""
    stream = Stream()
    for hour in range(3):
        stream.put(signal("a", f"s{hour}", at=AT + hour * 60 * MINUTE, task_status="acked"))
    sizes = [
        [(len(one.minutes), len(one.totals)) for one in portion.sums.values()]
        for portion in rules.portions(stream.records, after=None, most=3)
    ]

    assert sizes == [[(2, 1)], [(1, 1)]]


# ---- Any division into batches -----------------------------------------------------------------

ACCOUNTS = st.sampled_from(["a", "b", "c"])
NAMES = st.integers(0, 5).map(str)
MOMENTS = st.integers(AT, AT + 2 * DAY)
EMITTED = st.tuples(st.just("emit"), ACCOUNTS, NAMES, MOMENTS, st.sampled_from(["task", "ping"]))
SENT = st.tuples(
    st.just("send"), ACCOUNTS, NAMES, st.sampled_from([one.value for one in DeliveryStatus])
)
TURNS = st.tuples(
    st.sampled_from(["ack", "touch", "remove", "status"]),
    st.integers(0, 1_000),
    st.sampled_from([one.value for one in DeliveryStatus]),
)
HISTORIES = st.lists(st.one_of(EMITTED, SENT, TURNS), max_size=60)


def _live(history: list[Any]) -> tuple[Stream, Counter[tuple[str, int]]]:
    """Return a stream of random changes, and the signals that arrived by account and minute."""
    stream, arrived = Stream(), Counter[tuple[str, int]]()
    for verb, *arguments in history:
        if verb == "emit":
            account, name, at, kind = arguments
            item = signal(account, name, at=at, type=kind)
            if (item["pk"], item["sk"]) not in stream.items:
                stream.put(item)
                arrived[account, at // MINUTE] += kind != "ping"
        elif verb == "send":
            account, name, status = arguments
            item = delivery(account, account + name, status)
            if (item["pk"], item["sk"]) not in stream.items:
                stream.put(item)
        elif stream.items:
            place, status = arguments
            item = list(stream.items.values())[place % len(stream.items)]
            is_signal = item["pk"].startswith("SIGNAL#")
            if verb == "remove":
                stream.remove(item)
            elif verb == "ack" and is_signal:
                stream.change(item, task_status="acked")
            elif verb == "status" and not is_signal:
                stream.change(item, status=status)
            else:
                stream.change(item, touched=place)
    return stream, arrived


def _recount(stream: Stream) -> Counter[tuple[str, str]]:
    totals = Counter[tuple[str, str]]()
    for item in stream.items.values():
        if item["pk"].startswith("DELIVERY#"):
            state = item["status"]
            totals[item["account_id"], "pending" if state == "retrying" else state] += 1
        elif item.get("task_status") == "acked":
            totals[item["pk"].split("#")[1], "acked"] += 1
    return totals


class Counters:
    """A table in memory that does a whole transaction or nothing."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.position: str | None = None
        self.totals = Counter[tuple[str, str]]()
        self.minutes = Counter[tuple[str, int]]()

    def take(self, records: list[dict[str, Any]], *, die_after: int | None) -> bool:
        """Count a batch, die after some transactions; return whether it was completed."""
        for done, portion in enumerate(
            rules.portions(records, after=self.position, most=self.most)
        ):
            if done == die_after:
                return False
            self.position = portion.upto
            for account, sums in portion.sums.items():
                for name, by in sums.totals.items():
                    self.totals[account, name] += by
                for minute, by in sums.minutes.items():
                    self.minutes[account, minute] += by
        return True


@settings(max_examples=at_most(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORIES, most=st.integers(2, 8), data=st.data())
def test_the_counters_equal_a_recount_for_any_batches_and_crashes(
    history: list[Any], most: int, data: st.DataObject
) -> None:
    """Batches split anywhere, repeated, started earlier, halved, or interrupted."""
    stream, arrived = _live(history)
    counters, taken = Counters(most), 0
    while taken < len(stream.records):
        start = data.draw(st.integers(max(0, taken - 6), taken), "start")
        end = data.draw(st.integers(taken + 1, len(stream.records)), "end")
        die_after = data.draw(st.one_of(st.none(), st.none(), st.integers(0, 3)), "dies after")
        batch = stream.records[start:end]
        if counters.take(batch, die_after=die_after):
            taken = end
        else:  # Lambda halves it
            middle = max(1, len(batch) // 2)
            counters.take(batch[:middle], die_after=None)
            taken = max(taken, start + middle)

    assert +counters.totals == _recount(stream)
    assert not -counters.totals
    assert +counters.minutes == +arrived


@settings(deadline=None)
@given(moments=st.lists(st.integers(0, 2 * DAY), max_size=50), now=st.integers(DAY, 3 * DAY))
def test_the_volume_is_of_the_last_24_hours_to_the_minute(moments: list[int], now: int) -> None:
    minutes = Counter(moment // MINUTE for moment in moments)
    volume = rules.volume(minutes, now=now)

    past = [moment for moment in moments if moment <= now]
    assert volume <= len([one for one in moments if one > now - DAY])
    assert volume >= len([one for one in past if one > now - DAY + MINUTE])


def test_a_signal_leaves_the_volume_exactly_a_day_later() -> None:
    minutes = {MINUTE_OF_IT: 1}

    assert rules.volume(minutes, now=AT) == 1
    assert rules.volume(minutes, now=(MINUTE_OF_IT + 24 * 60) * MINUTE - 1) == 1
    assert rules.volume(minutes, now=AT + DAY) == 0


def test_every_total_is_present_and_never_negative() -> None:
    assert rules.totals({"pending": 3, "acked": -1, "ttl": 5}) == {
        "pending": 3,
        "delivered": 0,
        "dead_letter": 0,
        "acked": 0,
    }


def test_minutes_are_grouped_by_hour() -> None:
    assert rules.by_hour({59: 1, 60: 2, 119: 3, 120: 4}) == {
        0: {59: 1},
        1: {0: 2, 59: 3},
        2: {0: 4},
    }
