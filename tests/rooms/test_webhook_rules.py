"""Checks of a webhook's fields, matching and secrets, by example and by property."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, SECOND
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.outbound.origins import origin_of
from gatehouse.signals.model import Signal
from gatehouse.webhooks import rules, secret_rules
from gatehouse.webhooks.model import (
    FILTER_TYPES,
    CheckedFields,
    Filters,
    NewFilters,
    SealedSecrets,
    Secret,
    Webhook,
    WebhookFields,
)

WEBHOOK = Webhook(id="w1", account_id="a1", url="https://a.example/in?token=x", created_at=1)
SIGNAL = Signal(
    id="s1",
    account_id="a1",
    type="task",
    content="x",
    from_identity="identity:x",
    created_at=1,
    expires_at=2,
)
NOW = 1_800_000_000 * SECOND

urgencies = st.floats(0, 1)
rings = st.sampled_from(["inner", "outer", "Inner", ""])


def matches(filters: Filters, **signal_fields: Any) -> bool:
    signal = replace(SIGNAL, **signal_fields)
    return rules.matches(replace(WEBHOOK, filters=filters), signal)


# ---- Filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "signal_fields", "expected"),
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
def test_all_filters_must_match_and_an_empty_one_always_does(
    filters: Filters, signal_fields: dict[str, Any], expected: object
) -> None:
    assert matches(filters, **signal_fields) == expected


@given(
    st.lists(rings, max_size=3),
    st.lists(st.sampled_from(SIGNAL_TYPES), max_size=3),
    urgencies,
    st.sampled_from(SIGNAL_TYPES),
    st.none() | rings,
    urgencies,
)
def test_a_signal_matches_exactly_if_each_filter_matches(
    some_rings: list[str],
    types: list[str],
    least: float,
    kind: str,
    ring: str | None,
    urgency: float,
) -> None:
    named = [one for one in some_rings if one]
    filters = rules.check_filters(NewFilters(named, types, least))
    expected = (
        (not filters.rings or ring in filters.rings)
        and (not types or kind in types)
        and urgency >= least
    )
    assert matches(filters, type=kind, to_ring=ring, urgency=str(urgency)) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (-0.0, "0"), (1, "1"), (1.0, "1"), (0.5, "0.5"), (1e-7, "1E-7")],
)
def test_equal_numbers_become_the_same_text(value: float, text: str) -> None:
    assert rules.check_filters(NewFilters(min_urgency=value)).min_urgency == text


@given(urgencies)
def test_min_urgency_is_stored_without_rounding(value: float) -> None:
    text = rules.check_filters(NewFilters(min_urgency=value)).min_urgency
    assert float(text) == value
    assert len(text) <= 32
    assert Decimal(text) == Decimal(repr(abs(value)))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 2, -1, float("inf"), float("nan")])
def test_a_min_urgency_outside_0_to_1_is_refused(wrong: float) -> None:
    with pytest.raises(BadInput, match="from 0 to 1"):
        rules.check_filters(NewFilters(min_urgency=wrong))


def test_filters_are_bounded_and_lose_duplicates() -> None:
    many = [f"ring-{number}" for number in range(51)]
    assert rules.check_filters(NewFilters(many[:50])).rings == tuple(many[:50])
    assert rules.check_filters(NewFilters(["a", "b", "a"], ["task", "task"])) == Filters(
        ("a", "b"), ("task",)
    )
    for wrong in (many, [""], ["r" * 65], ["a\x7f"]):
        with pytest.raises(BadInput) as refused:
            rules.check_filters(NewFilters(wrong))
        assert refused.value.details == {"field": "filters.rings"}
    for unknown in ("ping", "noise", "", "TASK"):
        with pytest.raises(BadInput) as refused:
            rules.check_filters(NewFilters(types=["task", unknown]))
        assert refused.value.details == {"field": "filters.types"}


# ---- Schedule, description, headers ------------------------------------------------------------


@pytest.mark.parametrize("steps", [[1], [5, 30, 300], [1] * 20, [432_000], [431_981, *[1] * 19]])
def test_a_schedule_within_its_bounds_is_accepted(steps: list[int]) -> None:
    assert rules.check_schedule(steps) == tuple(steps)


@pytest.mark.parametrize("steps", [[], [0], [-1, 5], [1] * 21, [432_001], [432_000, 1], [10**30]])
def test_a_schedule_out_of_bounds_is_refused(steps: list[int]) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_schedule(steps)
    assert refused.value.details == {"field": "retry_schedule"}


def test_without_a_schedule_the_default_applies() -> None:
    assert rules.check_schedule(None) == ()
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
def test_headers_that_http_allows_are_accepted_unchanged(headers: dict[str, str]) -> None:
    if len({name.lower() for name in headers}) == len(headers):
        assert rules.check_headers(headers) == headers
    else:
        with pytest.raises(BadInput, match="twice"):
            rules.check_headers(headers)


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
def test_reserved_and_malformed_header_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_headers({name: "value-of-it"})
    assert refused.value.details == {"field": "headers"}
    assert "value-of-it" not in refused.value.message
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Chor", "Accept", "Date-X", "hosts"])
def test_other_header_names_are_accepted(name: str) -> None:
    assert rules.check_headers({name: "v"}) == {name: "v"}


@pytest.mark.parametrize(
    "value",
    ["", " ", " a", "a ", "a\r\nb", "a\nb", "a\x00", "a\tb", "a\x7f", "ä", "x" * 1_025, "\ud800"],
)
def test_a_header_value_that_is_not_printable_ascii_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_headers({"X-A": value})
    assert refused.value.details == {"field": "headers"}
    assert not value.strip() or value not in refused.value.message


def test_headers_are_at_most_20_and_their_names_are_sorted() -> None:
    twenty = {f"X-{number}": "v" for number in range(20)}
    assert rules.check_headers(twenty) == twenty
    with pytest.raises(BadInput, match="at most 20"):
        rules.check_headers(twenty | {"X-More": "v"})
    assert rules.check_headers(None) == {}
    assert rules.header_names({"b": "", "A": "", "c": ""}) == ("A", "b", "c")


def test_a_description_has_at_most_500_printable_characters() -> None:
    assert rules.check_description(None) == ""
    assert rules.check_description("é" * 500) == "é" * 500
    for wrong in ("d" * 501, "a\nb", "a\x00"):
        with pytest.raises(BadInput):
            rules.check_description(wrong)


def test_fields_that_are_set_are_checked_and_the_others_stay_unset() -> None:
    assert rules.check_fields(WebhookFields()) == CheckedFields()
    assert rules.check_fields(WebhookFields(headers=None)) == CheckedFields(
        headers={}, header_names=()
    )
    assert rules.check_fields(WebhookFields(filters=None)) == CheckedFields(filters=Filters())
    for empty in ("", None):
        with pytest.raises(FieldRequired):
            rules.check_fields(WebhookFields(url=empty))


def test_every_filter_has_a_type_for_schemas_and_bootstrap_files() -> None:
    names = [field.name for field in fields(Filters)]
    assert names == [field.name for field in fields(NewFilters)]
    assert names == list(FILTER_TYPES)


# ---- Secrets -----------------------------------------------------------------------------------


def test_the_format_of_stored_material_never_changes() -> None:
    """Every stored secret depends on it."""
    sealed = SealedSecrets((Secret("a", 5), Secret("b")))
    text = '{"secrets": [{"text": "a", "until": 5}, {"text": "b", "until": null}]}'
    assert secret_rules.write_sealed(sealed) == text
    assert secret_rules.read_sealed(text) == sealed
    headers = {"X-A": "1", "authorization": "b"}
    assert secret_rules.write_headers(headers) == '{"X-A": "1", "authorization": "b"}'
    assert secret_rules.read_headers('{"X-A": "1", "authorization": "b"}') == headers


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example:443"),
        ("https://a.example:8443/in?x=1:2", "https://a.example:8443"),
        ("http://a.example/https://b.example", "http://a.example:80"),
        ("https://[2001:db8::1]/in", "https://[2001:db8::1]:443"),
        ("https://a.example./in", "https://a.example.:443"),
        ("https://a.example?@b.example", "https://a.example:443"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_a_secret_is_whsec_and_base64() -> None:
    assert secret_rules.secret_text(bytes(range(32))) == (
        "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    )


@given(st.lists(st.tuples(st.integers(0, 7 * 86_400), st.integers(0, 10 * 86_400)), max_size=6))
def test_at_most_two_secrets_are_live_and_always_the_newest(
    rotations: list[tuple[int, int]],
) -> None:
    sealed, now = SealedSecrets((Secret("s0"),)), NOW
    for number, (grace, later) in enumerate(rotations, 1):
        newest = f"s{number}"
        sealed = secret_rules.rotate(sealed, newest, grace=grace * SECOND, now=now)
        live = secret_rules.live_secrets(sealed, now=now)
        assert live == ((f"s{number - 1}", newest) if grace else (newest,))
        now += later * SECOND
        live = secret_rules.live_secrets(sealed, now=now)
        assert live == ((f"s{number - 1}", newest) if later < grace else (newest,))


def test_a_grace_is_a_day_by_default() -> None:
    assert secret_rules.check_grace(None) == DAY
    assert (secret_rules.check_grace(0), secret_rules.check_grace(604_800)) == (0, 7 * DAY)
    for wrong in (-1, 604_801, 10**30):
        with pytest.raises(BadInput, match="grace_seconds"):
            secret_rules.check_grace(wrong)


def test_audit_events_do_not_show_the_urls_query() -> None:
    assert rules.audit_view(WEBHOOK)["url"] == "https://a.example/in"
    assert "token" not in str(rules.audit_view(WEBHOOK))
