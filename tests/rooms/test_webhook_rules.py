"""What a webhook may say and which signals it wants: by table and by property, without a table."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, SECOND
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.webhooks import rules
from gatehouse.webhooks.model import Filters, Sealed, Secret, Webhook

WEBHOOK = Webhook(id="w1", account_id="a1", url="https://a.example/in?token=x", created_at=1)
NOW = 1_800_000_000 * SECOND

urgencies = st.floats(0, 1)
rings = st.sampled_from(["inner", "outer", "Inner", ""])


def wants(filters: Filters, **signal: Any) -> bool:
    given_ = {"type": "task", "to_ring": None, "urgency": "0.5", **signal}
    return rules.matches(replace(WEBHOOK, filters=filters), **given_)


# ---- Which signals it wants --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "signal", "wanted"),
    [
        (Filters(), {}, True),
        (Filters(), {"to_ring": "inner", "urgency": "0"}, True),
        (Filters(("inner",)), {"to_ring": "inner"}, True),
        (Filters(("inner", "outer")), {"to_ring": "outer"}, True),
        (Filters(("inner",)), {"to_ring": "outer"}, False),
        (Filters(("inner",)), {"to_ring": "Inner"}, False),
        (Filters(("inner",)), {"to_ring": None}, False),
        (Filters((), ("task",)), {}, True),
        (Filters((), ("alert", "task")), {}, True),
        (Filters((), ("alert",)), {}, False),
        (Filters((), (), "0.5"), {"urgency": "0.5"}, True),
        (Filters((), (), "0.5"), {"urgency": "0.50"}, True),
        (Filters((), (), "0.5"), {"urgency": "0.49999999999999994"}, False),
        (Filters((), (), "0.9"), {"urgency": "1"}, True),
        (Filters((), (), "1"), {"urgency": "1.0"}, True),
        (Filters((), (), "1"), {"urgency": "0.10"}, False),
        (Filters((), (), "1E-7"), {"urgency": "1e-07"}, True),
        (Filters(("inner",), ("task",), "0.5"), {"to_ring": "inner"}, True),
        (Filters(("inner",), ("task",), "0.6"), {"to_ring": "inner"}, False),
        (Filters(("inner",), ("alert",), "0.5"), {"to_ring": "inner"}, False),
        (Filters(), {"type": "ping"}, False),
        (Filters(), {"type": "ping", "urgency": "1"}, False),
    ],
)
def test_all_filters_must_hold_and_an_empty_one_always_does(
    filters: Filters, signal: dict[str, Any], wanted: object
) -> None:
    assert wants(filters, **signal) == wanted


@given(
    st.lists(rings, max_size=3),
    st.lists(st.sampled_from(SIGNAL_TYPES), max_size=3),
    urgencies,
    st.sampled_from(SIGNAL_TYPES),
    st.none() | rings,
    urgencies,
)
def test_a_signal_is_wanted_exactly_where_each_filter_says_so(
    some_rings: list[str],
    types: list[str],
    least: float,
    kind: str,
    ring: str | None,
    urgency: float,
) -> None:
    filters = rules.filters_of([one for one in some_rings if one], types, min_urgency=least)
    expected = (
        (not filters.rings or ring in filters.rings)
        and (not types or kind in types)
        and urgency >= least
    )
    assert wants(filters, type=kind, to_ring=ring, urgency=str(urgency)) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (-0.0, "0"), (1, "1"), (1.0, "1"), (0.5, "0.5"), (1e-7, "1E-7")],
)
def test_one_number_is_one_text(value: float, text: str) -> None:
    assert rules.filters_of([], [], min_urgency=value).min_urgency == text


@given(urgencies)
def test_the_least_urgency_is_kept_to_the_last_bit(value: float) -> None:
    text = rules.filters_of([], [], min_urgency=value).min_urgency
    assert float(text) == value
    assert len(text) <= 32
    assert Decimal(text) == Decimal(repr(abs(value)))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 2, -1, float("inf"), float("nan")])
def test_a_least_urgency_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(BadInput, match="from 0 to 1"):
        rules.filters_of([], [], min_urgency=wrong)


def test_filters_are_bounded_and_say_things_once() -> None:
    many = [f"ring-{number}" for number in range(51)]
    assert rules.filters_of(many[:50], [], min_urgency=0).rings == tuple(many[:50])
    assert rules.filters_of(["a", "b", "a"], ["task", "task"], min_urgency=0) == Filters(
        ("a", "b"), ("task",)
    )
    for wrong in (many, [""], ["r" * 65], ["a\x7f"]):
        with pytest.raises(BadInput) as refused:
            rules.filters_of(wrong, [], min_urgency=0)
        assert refused.value.details == {"field": "filters.rings"}
    for unknown in ("ping", "noise", "", "TASK"):
        with pytest.raises(BadInput) as refused:
            rules.filters_of([], ["task", unknown], min_urgency=0)
        assert refused.value.details == {"field": "filters.types"}


# ---- Schedule, description, headers ------------------------------------------------------------


@pytest.mark.parametrize("steps", [[1], [5, 30, 300], [1] * 20, [432_000], [431_981, *[1] * 19]])
def test_a_schedule_within_its_bounds_is_kept(steps: list[int]) -> None:
    assert rules.schedule_of(steps) == tuple(steps)


@pytest.mark.parametrize("steps", [[], [0], [-1, 5], [1] * 21, [432_001], [432_000, 1], [10**30]])
def test_a_schedule_out_of_bounds_is_refused(steps: list[int]) -> None:
    with pytest.raises(BadInput) as refused:
        rules.schedule_of(steps)
    assert refused.value.details == {"field": "retry_schedule"}


def test_without_a_schedule_the_default_holds() -> None:
    assert rules.schedule_of(None) == ()
    assert WEBHOOK.schedule == (5, 30, 300)
    assert replace(WEBHOOK, retry_schedule=(7,)).schedule == (7,)


TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCYZabcyz"


@given(
    st.dictionaries(
        st.text(TOKEN_CHARACTERS, min_size=1, max_size=20).map(lambda name: f"q{name}"),
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=1_024),
        max_size=5,
    )
)
def test_headers_that_http_knows_are_kept_as_they_are(headers: dict[str, str]) -> None:
    if len({name.lower() for name in headers}) == len(headers):
        assert rules.headers_of(headers) == headers
    else:
        with pytest.raises(BadInput, match="twice"):
            rules.headers_of(headers)


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "hOST", "Content-Type", "content-length", "Content-Anything", "Connection"),
        *("Transfer-Encoding", "User-Agent", "X-Chorus-Event", "x-chorus-", "webhook-id"),
        *("Webhook-Signature", "Expect", "Upgrade", "TE", "Trailer", "Keep-Alive", "Date"),
        *("Proxy-Authorization", "proxy-connection", "X_Chorus_Signature", "user_agent"),
        *("", " ", "X A", "X-A:", "X-A\r\n", "X-Ä", "(x)", "x" * 129, "X\x00", "x@y", '"x"'),
    ],
)
def test_a_header_that_is_not_the_webhooks_to_set_is_refused(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.headers_of({name: "value-of-it"})
    assert refused.value.details == {"field": "headers"}
    assert "value-of-it" not in refused.value.message
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Chor", "Accept", "Date-X", "hosts"])
def test_other_headers_are_the_webhooks_own(name: str) -> None:
    assert rules.headers_of({name: "v"}) == {name: "v"}


@pytest.mark.parametrize(
    "value",
    ["", " ", " a", "a ", "a\r\nb", "a\nb", "a\x00", "a\tb", "a\x7f", "ä", "x" * 1_025, "\ud800"],
)
def test_a_header_value_that_is_no_printable_ascii_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.headers_of({"X-A": value})
    assert refused.value.details == {"field": "headers"}
    assert not value.strip() or value not in refused.value.message


def test_headers_are_bounded_and_shown_in_order() -> None:
    twenty = {f"X-{number}": "v" for number in range(20)}
    assert rules.headers_of(twenty) == twenty
    with pytest.raises(BadInput, match="at most 20"):
        rules.headers_of(twenty | {"X-More": "v"})
    assert rules.headers_of(None) == {}
    assert rules.names_of({"b": "", "A": "", "c": ""}) == ("A", "b", "c")


def test_a_description_is_bounded() -> None:
    assert rules.description_of(None) == ""
    assert rules.description_of("é" * 500) == "é" * 500
    for wrong in ("d" * 501, "a\nb", "a\x00"):
        with pytest.raises(BadInput):
            rules.description_of(wrong)


def test_what_is_given_is_checked_and_the_rest_left_alone() -> None:
    assert rules.checked({}) == ({}, None)
    assert rules.checked({"headers": None}) == ({"header_names": ()}, {})
    assert rules.checked({"filters": None}) == ({"filters": Filters()}, None)
    for nothing in ("", None):
        with pytest.raises(FieldRequired):
            rules.checked({"url": nothing})


# ---- Secrets -----------------------------------------------------------------------------------


def test_the_form_of_what_the_vault_keeps_is_pinned() -> None:
    """Every stored secret depends on it."""
    sealed = Sealed((Secret("a", 5), Secret("b")), {"X-A": "1"})
    text = (
        '{"secrets": [{"text": "a", "until": 5}, {"text": "b", "until": null}],'
        ' "headers": {"X-A": "1"}}'
    )
    assert rules.write_sealed(sealed) == text
    assert rules.read_sealed(text) == sealed


def test_a_secret_is_a_prefix_and_base64() -> None:
    assert rules.secret_text(bytes(range(32))) == (
        "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    )


@given(st.lists(st.tuples(st.integers(0, 7 * 86_400), st.integers(0, 10 * 86_400)), max_size=6))
def test_at_most_two_secrets_live_and_the_newest_always_does(
    rotations: list[tuple[int, int]],
) -> None:
    sealed, now = Sealed((Secret("s0"),)), NOW
    for number, (grace, later) in enumerate(rotations, 1):
        newest = f"s{number}"
        sealed = rules.rotated(sealed, newest, grace=grace * SECOND, now=now)
        live = rules.material(sealed, now=now).secrets
        assert live == ((f"s{number - 1}", newest) if grace else (newest,))
        now += later * SECOND
        live = rules.material(sealed, now=now).secrets
        assert live == ((f"s{number - 1}", newest) if later < grace else (newest,))


def test_a_grace_is_a_day_unless_said_otherwise() -> None:
    assert rules.grace_of(None) == DAY
    assert (rules.grace_of(0), rules.grace_of(604_800)) == (0, 7 * DAY)
    for wrong in (-1, 604_801, 10**30):
        with pytest.raises(BadInput, match="grace_seconds"):
            rules.grace_of(wrong)


def test_an_audit_event_shows_no_query() -> None:
    assert rules.audit_view(WEBHOOK)["url"] == "https://a.example/in"
    assert "token" not in str(rules.audit_view(WEBHOOK))
