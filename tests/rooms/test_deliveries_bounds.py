"""Deliveries at the exact bounds, and whole values after each change of state."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from gatehouse.deliveries import header_rules, partition_rules, rules
from gatehouse.deliveries.model import (
    Attempt,
    DeadLetterReason,
    Delivered,
    Delivery,
    DeliveryStatus,
    GiveUp,
    NextAction,
    Outcome,
    Park,
    ParkReason,
    Posted,
    Retry,
)
from support.worlds.delivery_values import BUSY, ID, MINUTE, NEW, NOW, SECOND, SIGNAL, STILL, WEEK

# ---- Ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhook", "derived"),
    [
        ("d", "01945d3c-5c00-7ffb-bbc9-8f3f18ac3e73"),
        ("e", "01945d3c-5c00-705b-afa1-82043f79bb7b"),
        ("f", "01945d3c-5c00-7077-a0f9-6184252f10c8"),
        ("h", "01945d3c-5c00-75cb-8517-e3fcaaa94026"),
    ],
)
def test_a_derived_id_has_the_layout_of_uuid_7_for_any_digest(webhook: str, derived: str) -> None:
    assert rules.id_of(SIGNAL, webhook) == derived


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (-1, "00000000-0000-7000-8000-000000000000"),
        (0, "00000000-0000-7000-8000-000000000000"),
        (1_999, "00000000-0001-7000-8000-000000000000"),
        (NOW, "01a3185c-5000-7000-8000-000000000000"),
    ],
)
def test_the_lowest_id_of_a_moment_has_its_milliseconds(moment: int, text: str) -> None:
    assert rules.lowest_id(moment) == text


@pytest.mark.parametrize(
    ("digits", "shard"), [("000", 0), ("03f", 63), ("040", 0), ("f4a", 10), ("fff", 63)]
)
def test_a_delivery_is_in_one_of_64_shards(digits: str, shard: int) -> None:
    assert rules.shard_of(f"{ID[:15]}{digits}{ID[18:]}") == shard


@pytest.mark.parametrize(("digit", "lane"), [("0", 0), ("7", 7), ("8", 0), ("f", 7)])
def test_an_id_names_its_partition_by_its_last_nine_digits(digit: str, lane: int) -> None:
    assert partition_rules.partition_of(f"01945d3c-5c00-739d-a894-4e2{digit}ea69dd4a") == (
        "ea69dd4a",
        lane,
    )


def test_every_delivery_of_a_webhook_is_in_one_of_its_eight_partitions() -> None:
    partitions = partition_rules.partitions_of("w")
    ids = [rules.id_of(f"{SIGNAL[:-3]}{number:03x}", "w") for number in range(200)]

    assert len(partitions) == 8
    assert {partition_rules.partition_of(one) for one in ids} == set(partitions)
    assert not {partition_rules.partition_of(rules.id_of(SIGNAL, "x"))} & set(partitions)


def test_nothing_lies_between_an_id_and_the_texts_beside_it() -> None:
    before = "01945d3c-5c00-739d-a894-4e2cea69dd49"
    after = "01945d3c-5c00-739d-a894-4e2cea69dd4b"

    assert before < partition_rules.below(ID) < ID < partition_rules.above(ID) < after


@pytest.mark.parametrize(
    ("status", "parked", "state"),
    [
        (DeliveryStatus.PENDING, None, None),
        (DeliveryStatus.DELIVERED, None, None),
        (DeliveryStatus.RETRYING, None, "retrying"),
        (DeliveryStatus.DEAD_LETTER, None, "dead_letter"),
        (DeliveryStatus.PENDING, ParkReason.GONE, "parked"),
    ],
)
def test_only_retrying_parked_and_dead_letters_are_in_the_index(
    status: DeliveryStatus, parked: ParkReason | None, state: str | None
) -> None:
    assert rules.listed_state(replace(NEW, status=status, parked=parked)) == state


# ---- Attempts ----------------------------------------------------------------------------------


def test_a_new_delivery_is_due_now_and_kept_a_week_longer_than_its_signal() -> None:
    made = rules.new_delivery(
        id=ID,
        account_id="a",
        webhook_id="w",
        signal_id="s",
        event="alert",
        signal_ends_at=NOW + WEEK,
        now=NOW,
        replay_of="r",
    )

    assert made == replace(NEW, next_retry_at=NOW, due_at=NOW + 2 * MINUTE, replay_of="r")


@pytest.mark.parametrize(
    ("code", "asked", "action"),
    [
        (199, None, Retry(NOW + 5 * SECOND)),
        (200, None, Delivered()),
        (299, None, Delivered()),
        (300, None, Retry(NOW + 5 * SECOND)),
        (409, None, Retry(NOW + 5 * SECOND)),
        (410, 60, Park(ParkReason.GONE)),
        (411, None, Retry(NOW + 5 * SECOND)),
        (428, 60, Retry(NOW + 5 * SECOND)),
        (429, 0, Retry(NOW + 5 * SECOND)),
        (429, 6, Retry(NOW + 6 * SECOND)),
        (430, 60, Retry(NOW + 5 * SECOND)),
        (501, 60, Retry(NOW + 5 * SECOND)),
        (502, 60, Retry(NOW + 60 * SECOND)),
        (503, 3_600, Retry(NOW + 3_600 * SECOND)),
        (503, 3_601, Retry(NOW + 3_600 * SECOND)),
        (504, 60, Retry(NOW + 60 * SECOND)),
        (505, 60, Retry(NOW + 5 * SECOND)),
        (None, 60, Retry(NOW + 5 * SECOND)),
    ],
)
def test_what_follows_an_attempt_depends_on_the_exact_code(
    code: int | None, asked: int | None, action: NextAction
) -> None:
    outcome = Outcome(code, retry_after=asked)

    assert rules.next_action(0, outcome, schedule=(5, 30), now=NOW) == action


def test_the_attempt_after_the_last_step_is_the_last() -> None:
    failed = Outcome(500)

    assert rules.next_action(1, failed, schedule=(5, 30), now=NOW) == Retry(NOW + 30 * SECOND)
    for step in (2, 3):
        action = rules.next_action(step, failed, schedule=(5, 30), now=NOW)
        assert action == GiveUp(DeadLetterReason.EXHAUSTED)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600", 3_600),
        ("3601", 3_600),
        ("000000120", 120),
        ("0000000120", 120),
        ("0000000000", 0),
        ("10000000000", 3_600),
        ("²", None),
        ("Fri, 15 Jan 2027 08:00:00 GMT", 0),
        ("Fri, 15 Jan 2027 07:59:59 GMT", 0),
        ("Fri, 15 Jan 2027 08:00:01 GMT", 1),
        ("Fri, 15 Jan 2027 09:00:00 GMT", 3_600),
        ("Fri, 15 Jan 2027 09:00:01 GMT", 3_600),
        ("Friday, 15-Jan-27 08:00:07 GMT", 7),
        ("Fri Jan 15 08:00:07 2027", 7),
    ],
)
def test_retry_after_is_from_zero_to_an_hour(text: str, seconds: int | None) -> None:
    assert rules.parse_retry_after(text, NOW) == seconds


def test_a_date_in_retry_after_is_never_too_early() -> None:
    late = "Fri, 15 Jan 2027 08:00:07 GMT"

    assert rules.parse_retry_after(late, NOW + 1) == 7
    assert rules.parse_retry_after(late, NOW + SECOND) == 6
    assert rules.parse_retry_after(late, NOW + 6 * SECOND + 900_000) == 1


def test_a_date_without_a_zone_is_utc_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert rules.parse_retry_after("Fri Jan 15 08:00:07 2027", NOW) == 7
    finally:
        monkeypatch.undo()
        time.tzset()


# ---- Jitter ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "share", "seconds"),
    [
        (59, 0.5, 59),
        (60, 0.0, 60),
        (60, 0.5, 63),
        (300, 0.5, 315),
        (300, 1 - 2**-32, 329.999999),
        (86_400, 0.25, 88_560),
    ],
)
def test_a_wait_of_a_minute_or_more_is_up_to_a_tenth_longer(
    wait: int, share: float, seconds: float
) -> None:
    retry = rules.next_action(0, Outcome(500), schedule=(wait,), now=NOW, share=share)

    assert retry == Retry(NOW + round(seconds * SECOND))


def test_a_wait_that_a_receiver_asks_for_has_jitter_too() -> None:
    asked = Outcome(503, retry_after=3_600)

    assert rules.next_action(0, asked, schedule=(5,), now=NOW, share=0.5) == Retry(
        NOW + 3_780 * SECOND
    )


def test_jitter_is_spread_evenly_and_the_same_for_a_repeated_attempt() -> None:
    shares = [rules.jitter_share(replace(NEW, id=str(number))) for number in range(2_000)]

    assert all(0 <= share < 1 for share in shares)
    for tenth in range(10):
        assert 130 < sum(int(share * 10) == tenth for share in shares) < 270
    assert rules.jitter_share(NEW) == rules.jitter_share(replace(NEW, lease_until=7))
    assert rules.jitter_share(NEW) != rules.jitter_share(replace(NEW, next_attempt=2))


ATTEMPTED = replace(STILL, next_attempt=5, step=2, last_status_code=500)


@pytest.mark.parametrize(
    ("action", "after"),
    [
        (
            Delivered(),
            replace(ATTEMPTED, status=DeliveryStatus.DELIVERED, delivered_at=NOW, ended_at=NOW),
        ),
        (
            Retry(NOW + MINUTE),
            replace(ATTEMPTED, next_retry_at=NOW + MINUTE, due_at=NOW + 3 * MINUTE),
        ),
        (
            GiveUp(DeadLetterReason.SIGNAL_EXPIRED),
            replace(
                ATTEMPTED,
                status=DeliveryStatus.DEAD_LETTER,
                reason=DeadLetterReason.SIGNAL_EXPIRED,
                ended_at=NOW,
            ),
        ),
        (
            Park(ParkReason.GONE),
            replace(ATTEMPTED, status=DeliveryStatus.PENDING, parked=ParkReason.GONE),
        ),
    ],
)
def test_an_attempt_sets_or_clears_every_field(action: NextAction, after: Delivery) -> None:
    assert rules.after_attempt(BUSY, Outcome(500), action=action, now=NOW) == after


@pytest.mark.parametrize(
    ("at", "due_at", "unsent"),
    [
        (NOW - 1, NOW + 2 * MINUTE, False),
        (NOW + 1, NOW + 2 * MINUTE + 1, False),
        (NOW + 15 * MINUTE, NOW + 17 * MINUTE, False),
        (NOW + 15 * MINUTE + 1, NOW + 14 * MINUTE + 1, True),
    ],
)
def test_a_wait_above_15_minutes_has_no_message(at: int, due_at: int, *, unsent: bool) -> None:
    after = replace(BUSY, next_retry_at=at, due_at=due_at, unsent=unsent, parked=None, reason=None)

    assert rules.scheduled(BUSY, at, NOW) == after


def test_a_replay_starts_the_next_round_with_every_field_reset() -> None:
    assert rules.next_round(BUSY, NOW) == replace(
        STILL,
        status=DeliveryStatus.PENDING,
        round=3,
        step=0,
        ended_at=None,
        next_retry_at=NOW,
        due_at=NOW + 2 * MINUTE,
    )


@pytest.mark.parametrize(
    ("step", "status"), [(0, DeliveryStatus.PENDING), (1, DeliveryStatus.RETRYING)]
)
def test_an_unparked_delivery_is_due_now(step: int, status: DeliveryStatus) -> None:
    parked = replace(BUSY, status=DeliveryStatus.PENDING, step=step)

    assert rules.unparked(parked, NOW) == replace(
        STILL, status=status, step=step, next_retry_at=NOW, due_at=NOW + 2 * MINUTE
    )


@pytest.mark.parametrize(("later", "expired"), [(-1, False), (0, True), (1, True)])
def test_a_signal_expires_a_week_before_its_delivery(later: int, *, expired: bool) -> None:
    assert rules.signal_expired(NEW, NOW + WEEK + later) is expired


LETTER = replace(NEW, status=DeliveryStatus.DEAD_LETTER, ended_at=NOW)


@pytest.mark.parametrize(
    ("delivery", "asked_at", "now", "can"),
    [
        (LETTER, NOW + 1, NOW + 1, True),
        (LETTER, NOW, NOW + 1, False),  # given up at the moment of the request
        (LETTER, NOW + 1, NOW + WEEK - 1, True),
        (LETTER, NOW + 1, NOW + WEEK, False),  # its signal has expired
        (replace(LETTER, status=DeliveryStatus.DELIVERED), NOW + 1, NOW + 1, False),
        (replace(LETTER, ended_at=None), 0, NOW, False),
        (replace(LETTER, ended_at=None), 1, NOW, True),
    ],
)
def test_a_recovery_replays_what_was_given_up_before_it(
    delivery: Delivery, asked_at: int, now: int, *, can: bool
) -> None:
    assert rules.can_recover(delivery, asked_at=asked_at, now=now) is can


def test_an_audit_event_shows_webhook_status_and_attempts() -> None:
    assert rules.audit_view(BUSY) == {
        "webhook_id": "webhook:w",
        "status": "retrying",
        "attempt_count": 3,
    }


@pytest.mark.parametrize(
    ("took", "milliseconds"),
    [(-1, 0), (0, 0), (999, 0), (1_000, 1), (1_999, 1), (10_000_000, 10_000)],
)
def test_an_attempts_duration_is_in_whole_milliseconds(took: int, milliseconds: int) -> None:
    posted = Posted("https://a.example", {"X-A": None}, {"server": "b"}, b"x" * 1_025)
    record = rules.attempt_of(
        BUSY, Outcome(500), started_at=NOW, ended_at=NOW + took, posted=posted
    )

    assert record == Attempt(
        *(4, NOW, milliseconds, 500, None, "x" * 1_024),
        *("https://a.example", {"X-A": None}, {"server": "b"}),
    )


def test_an_attempt_without_a_response_has_no_text() -> None:
    posted = Posted("https://a.example", {"X-A": "b"})
    outcome = Outcome(error="timeout")
    record = rules.attempt_of(BUSY, outcome, started_at=NOW, ended_at=NOW, posted=posted)

    assert record == Attempt(4, NOW, 0, None, "timeout", None, "https://a.example", {"X-A": "b"})


# ---- Headers that are kept ---------------------------------------------------------------------


def test_the_headers_that_a_webhook_adds_are_kept_by_name_only() -> None:
    kept = header_rules.kept_sent({"webhook-id": "i", "X-B": "c"}, {"X-Token": "secret"})

    assert kept == {"X-Token": None, "webhook-id": "i", "X-B": "c"}


def test_a_cookie_of_a_receiver_is_kept_by_name_only() -> None:
    received = {"set-cookie": "session=secret", "cookies": "2"}

    assert header_rules.kept_received(received) == {"set-cookie": None, "cookies": "2"}


def test_kept_headers_are_bounded_in_number_length_and_bytes() -> None:
    many = {f"x-{number}": "a" for number in range(33)}
    assert list(header_rules.kept_received(many)) == list(many)[:32]

    kept = header_rules.kept_received({"a": "v" * 256, "b": "w" * 257})
    assert kept == {"a": "v" * 256, "b": "w" * 255 + "…"}

    # Names and values have 1,024 bytes together.
    full = {"a": "v" * 255, "b": "v" * 255, "c": "v" * 255, "d": "v" * 250}
    assert header_rules.kept_received({**full, "e": "1234"}) == {**full, "e": "1234"}
    assert header_rules.kept_received({**full, "e": "12345", "f": "123"}) == {**full, "f": "123"}
    assert header_rules.kept_received({**full, "é": "é"}) == {**full, "é": "é"}
    assert header_rules.kept_received({**full, "é": "éé"}) == full
