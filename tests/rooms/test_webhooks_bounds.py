"""A webhook's fields at the exact bounds, and whole values of audit events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.core.maker import Maker
from gatehouse.signals.model import Signal
from gatehouse.webhooks import rules
from gatehouse.webhooks.model import (
    CheckedFields,
    Filters,
    NewFilters,
    Webhook,
    WebhookFields,
)

WEBHOOK = Webhook(
    id="w1",
    account_id="a1",
    url="https://a.example/in?token=x?y",
    created_at=1,
    filters=Filters(("inner",), ("task",), "0.5"),
    active=False,
    description="d",
    header_names=("X-A",),
    version=7,
    disabled_reason="gone",
    maker=Maker("identity:i1", "api_key:k1"),
)
VIEW = {
    "url": "https://a.example/in",
    "filters": {"rings": ["inner"], "types": ["task"], "min_urgency": "0.5"},
    "active": False,
    "disabled_reason": "gone",
    "description": "d",
    "retry_schedule": [5, 30, 300],
    "header_names": ["X-A"],
    "created_by": "identity:i1",
    "created_by_key": "api_key:k1",
    "version": 7,
}
ABSENT = ("creator_suspended", "creator_removed", "creator_demoted", "creator_narrowed")
SIGNAL = Signal("s1", "a1", "task", "x", "identity:x", created_at=1, expires_at=2)


@pytest.mark.parametrize("reason", [None, "gone", "creator_key_revoked"])
def test_a_webhook_that_is_inactive_for_another_reason_does_not_follow_its_creator(
    reason: str | None,
) -> None:
    paused = replace(WEBHOOK, active=False, disabled_reason=reason)
    for absence in (None, "suspended", "removed", "demoted"):
        assert rules.following(paused, absence) == paused


def test_a_webhook_follows_its_creator() -> None:
    active = replace(WEBHOOK, active=True, disabled_reason=None)
    assert rules.following(active, None) == active
    for before in (active, *(replace(WEBHOOK, disabled_reason=reason) for reason in ABSENT)):
        assert rules.following(before, None) == active
        for absence in ("suspended", "removed", "demoted", "narrowed"):
            after = rules.following(before, absence)
            assert (after.active, after.disabled_reason) == (False, f"creator_{absence}")
            assert replace(after, active=True, disabled_reason=None) == active


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        (Filters(("inner",), ("task",), "0.5"), True),
        (Filters(("outer",), ("task",), "0.5"), False),
        (Filters(("inner",), ("alert",), "0.5"), False),
        (Filters(("inner",), ("task",), "0.51"), False),
        (Filters(), True),
    ],
)
def test_a_signal_matches_only_if_all_three_filters_do(filters: Filters, *, matched: bool) -> None:
    webhook, signal = replace(WEBHOOK, filters=filters), replace(SIGNAL, to_ring="inner")

    assert rules.matches(webhook, signal) is matched


@pytest.mark.parametrize(
    ("filters", "checked"),
    [
        (NewFilters(), Filters((), (), "0")),
        (NewFilters(["r"], ["task"], 1), Filters(("r",), ("task",), "1")),
        (NewFilters(["r" * 64], [], 0.25), Filters(("r" * 64,), (), "0.25")),
        (NewFilters(["b", "a", "b"]), Filters(("b", "a"))),
        (NewFilters(types=SIGNAL_TYPES), Filters((), SIGNAL_TYPES)),
        (NewFilters(["a"] * 51), Filters(("a",))),  # the bound is of different ones
    ],
)
def test_filters_at_their_bounds_are_accepted(filters: NewFilters, checked: Filters) -> None:
    assert rules.check_filters(filters) == checked


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (
            rules.check_filters,
            NewFilters([f"ring-{number}" for number in range(51)]),
            "filters.rings must have at most 50 entries",
        ),
        *(
            (
                rules.check_filters,
                NewFilters(["good", wrong]),
                "filters.rings must have printable entries of 1 to 64 characters",
            )
            for wrong in ("", "r" * 65, "a\n")
        ),
        *(
            (
                rules.check_filters,
                NewFilters(min_urgency=wrong),
                "filters.min_urgency must be from 0 to 1",
            )
            for wrong in (-0.001, 1.001)
        ),
        *(
            (
                rules.check_description,
                wrong,
                "description must be at most 500 printable characters",
            )
            for wrong in ("d" * 501, "\n")
        ),
        *(
            (rules.check_schedule, wrong, "retry_schedule must have 1 to 20 steps")
            for wrong in ([], [1] * 21)
        ),
        (rules.check_schedule, [5, 0], "retry_schedule must have steps of at least one second"),
        (
            rules.check_schedule,
            [431_999, 2],
            "retry_schedule must not be longer than 5 days in all",
        ),
    ],
)
def test_a_refused_field_is_named_with_its_bounds(
    check: Callable[[Any], object], value: object, message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check(value)
    assert refused.value.message == message
    assert refused.value.details == {"field": message.split(maxsplit=1)[0]}


def test_a_refused_filter_of_types_lists_the_types() -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_filters(NewFilters(types=["task", "ping"]))
    assert refused.value.message == (
        "filters.types must be among pulse, sense, task, query, alert, artifact, proposal, shift"
    )
    assert refused.value.details == {"field": "filters.types"}


def test_a_description_of_500_characters_and_an_empty_one_are_accepted() -> None:
    assert rules.check_description("d" * 500) == "d" * 500
    assert rules.check_description("") == ""


@pytest.mark.parametrize(
    ("fields", "checked"),
    [
        (
            WebhookFields(
                "https://b.example/",
                NewFilters(["r"]),
                active=False,
                description="d",
                retry_schedule=[1, 2],
                headers={"b": "1", "A": "2"},
            ),
            CheckedFields(
                "https://b.example/",
                Filters(("r",)),
                active=False,
                description="d",
                retry_schedule=(1, 2),
                header_names=("A", "b"),
                headers={"b": "1", "A": "2"},
            ),
        ),
        (
            WebhookFields(filters=None, description=None, retry_schedule=None, headers=None),
            CheckedFields(
                filters=Filters(),
                description="",
                retry_schedule=(),
                header_names=(),
                headers={},
            ),
        ),
        (WebhookFields(active=True), CheckedFields(active=True)),
    ],
)
def test_each_field_is_checked_and_null_is_its_default(
    fields: WebhookFields, checked: CheckedFields
) -> None:
    assert rules.check_fields(fields) == checked


@pytest.mark.parametrize("url", ["", None])
def test_a_url_that_is_set_must_not_be_empty(url: str | None) -> None:
    with pytest.raises(FieldRequired) as refused:
        rules.check_fields(WebhookFields(url=url))
    assert refused.value.details == {"field": "url"}


@pytest.mark.parametrize(
    ("fields", "after", "changed"),
    [
        ({}, {}, []),
        ({"description": "d", "active": False}, {}, []),
        ({"description": "e"}, {"description": "e"}, ["description"]),
        ({"active": True}, {"active": True, "disabled_reason": None}, ["active"]),
        ({"header_names": ("X-B",), "headers": {"X-B": "1"}}, {"header_names": ("X-B",)}, []),
        (
            {"url": "https://b.example/", "filters": Filters(), "retry_schedule": (1,)},
            {"url": "https://b.example/", "filters": Filters(), "retry_schedule": (1,)},
            ["url", "filters", "retry_schedule"],
        ),
    ],
)
def test_fields_are_applied_and_those_that_differ_are_named(
    fields: dict[str, Any], after: dict[str, Any], changed: list[str]
) -> None:
    applied = rules.apply_fields(WEBHOOK, CheckedFields(**fields))

    assert applied == (replace(WEBHOOK, **after), changed)


def test_a_difference_has_the_values_before_and_after() -> None:
    fields = CheckedFields(active=True, retry_schedule=(7,), description="d")

    assert rules.difference(WEBHOOK, fields) == {
        "active": [False, True],
        "retry_schedule": [[5, 30, 300], [7]],
    }


def test_audit_events_show_a_webhook_without_its_urls_query() -> None:
    assert rules.audit_view(WEBHOOK) == VIEW
    plain = replace(WEBHOOK, url="https://a.example/in", retry_schedule=(9,))
    assert rules.audit_view(plain) == VIEW | {"retry_schedule": [9]}


def test_a_webhooks_name_version_and_error() -> None:
    error = rules.not_found()

    assert rules.target(WEBHOOK) == "webhook:w1"
    assert rules.next_version(WEBHOOK) == replace(WEBHOOK, version=8)
    assert (error.status, error.code) == (404, "WEBHOOK_NOT_FOUND")
    assert error.message == "Webhook not found"
