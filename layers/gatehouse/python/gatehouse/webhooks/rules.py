"""Checks and changes a webhook's fields, and matches signals with its filters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gatehouse.core.errors import BadInput, FieldRequired, NotFound
from gatehouse.core.grants import SIGNAL_TYPES, Grants, Permissions
from gatehouse.core.reach import LIVE, NO_REQUESTS, Reach, Shown, beyond
from gatehouse.core.text import is_plain
from gatehouse.core.unset import UNSET, Unset, set_fields
from gatehouse.outbound.headers import check_custom
from gatehouse.outbound.origins import origin_of
from gatehouse.signals.model import Signal
from gatehouse.webhooks.model import (
    CREATOR_ABSENT,
    HIGHEST_URGENCY,
    LONGEST_DESCRIPTION,
    LONGEST_RING,
    LONGEST_SCHEDULE_DAYS,
    LOWEST_URGENCY,
    MOST_FILTERED,
    MOST_REMEMBERED,
    MOST_STEPS,
    CheckedFields,
    Filters,
    NewFilters,
    Webhook,
    WebhookFields,
)


def matches(webhook: Webhook, signal: Signal) -> bool:
    """Return whether a webhook's filters match a signal, active or not. A ping never matches."""
    filters = webhook.filters
    return (
        signal.type in (filters.types or SIGNAL_TYPES)
        and (not filters.rings or signal.to_ring in filters.rings)
        and Decimal(signal.urgency) >= Decimal(filters.min_urgency)
    )


def reach_of(webhook: Webhook) -> Reach:
    """Return how far a webhook reaches: it reads what its filters match, without end."""
    return _reach(webhook.filters, webhook)


def reach_of_deliveries(webhook: Webhook) -> Reach:
    """Return how far a webhook reaches with what its earlier filters matched.

    Whoever sets where deliveries go, or sends them again, needs to reach this far.
    """
    return _reach(webhook.all_filters, webhook)


def _reach(filters: Filters, webhook: Webhook) -> Reach:
    return Reach(
        Grants(
            ("agents:read",), Permissions(signal_types=filters.types, ring_scopes=filters.rings)
        ),
        expires_at=None,
        rate_limit=NO_REQUESTS,
        rights=frozenset({LIVE}) if webhook.active else frozenset(),
        concerns=("signal_types", "ring_scopes"),
        shown={"signal_types": Shown("filters.types"), "ring_scopes": Shown("filters.rings")},
    )


def only_narrows(before: Webhook, after: Webhook, *, changed: Iterable[str]) -> bool:
    """Return whether a change of these fields only narrows a webhook or pauses it.

    Narrower filters at another URL are more than that: deliveries of the old filters may go there.
    """
    lower = Decimal(after.filters.min_urgency) < Decimal(before.filters.min_urgency)
    wider = beyond(reach_of(before), reach_of(after))
    return set(changed) <= {"filters", "active"} and not lower and not wider


def joined(one: Filters, other: Filters) -> Filters:
    """Return filters that match whatever either of two matches, or more."""
    return Filters(
        _joined(one.rings, other.rings),
        _joined(one.types, other.types),
        min(one.min_urgency, other.min_urgency, key=Decimal),
    )


def _joined(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if not one or not other:  # an empty list matches all
        return ()
    both = tuple(dict.fromkeys((*one, *other)))
    return both if len(both) <= MOST_REMEMBERED else ()


def check_filters(filters: NewFilters) -> Filters:
    """Check filters and remove duplicates. Raises BadInput."""
    types = tuple(dict.fromkeys(filters.types))
    if not set(types) <= set(SIGNAL_TYPES):
        raise _bad_field("filters.types", f"must be among {', '.join(SIGNAL_TYPES)}")
    rings = tuple(dict.fromkeys(filters.rings))
    if len(rings) > MOST_FILTERED:
        raise _bad_field("filters.rings", f"must have at most {MOST_FILTERED} entries")
    if not all(0 < len(ring) <= LONGEST_RING and is_plain(ring) for ring in rings):
        raise _bad_field(
            "filters.rings", f"must have printable entries of 1 to {LONGEST_RING} characters"
        )
    if not LOWEST_URGENCY <= filters.min_urgency <= HIGHEST_URGENCY:
        raise _bad_field(
            "filters.min_urgency", f"must be from {LOWEST_URGENCY} to {HIGHEST_URGENCY}"
        )
    return Filters(rings, types, _decimal_text(filters.min_urgency))


def _decimal_text(value: float) -> str:
    # 1, 1.0 and 1.00 are the same number and must become the same text.
    return str(abs(Decimal(repr(value))).normalize())


def check_description(text: str | None) -> str:
    """Check a description; None becomes the empty one. Raises BadInput."""
    if text is None:
        return ""
    if len(text) > LONGEST_DESCRIPTION or not is_plain(text):
        raise _bad_field(
            "description", f"must be at most {LONGEST_DESCRIPTION} printable characters"
        )
    return text


def check_schedule(steps: Iterable[int] | None) -> tuple[int, ...]:
    """Check a retry schedule in seconds; None becomes (), the default. Raises BadInput."""
    if steps is None:
        return ()
    schedule = tuple(steps)
    if not 1 <= len(schedule) <= MOST_STEPS:
        raise _bad_field("retry_schedule", f"must have 1 to {MOST_STEPS} steps")
    if min(schedule) < 1:
        raise _bad_field("retry_schedule", "must have steps of at least one second")
    if sum(schedule) > LONGEST_SCHEDULE_DAYS * 86_400:
        raise _bad_field(
            "retry_schedule", f"must not be longer than {LONGEST_SCHEDULE_DAYS} days in all"
        )
    return schedule


def check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Check custom headers; None becomes {}. The BadInput names the header, never its value."""
    return check_custom(headers)


def header_names(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of headers in the order in which they are shown."""
    return tuple(sorted(headers, key=str.lower))


def check_fields(fields: WebhookFields) -> CheckedFields:
    """Check the fields that are set, except where the URL leads. Raises BadInput."""
    url, filters, headers = fields.url, fields.filters, fields.headers
    if url is not UNSET and not url:
        raise FieldRequired("url")
    checked_headers: dict[str, str] | Unset = UNSET
    names: tuple[str, ...] | Unset = UNSET
    if headers is not UNSET:
        checked_headers = check_headers(headers)
        names = header_names(checked_headers)
    return CheckedFields(
        url=url or UNSET,
        filters=filters if filters is UNSET else check_filters(filters or NewFilters()),
        active=fields.active,
        description=(
            UNSET if fields.description is UNSET else check_description(fields.description)
        ),
        retry_schedule=(
            UNSET if fields.retry_schedule is UNSET else check_schedule(fields.retry_schedule)
        ),
        header_names=names,
        headers=checked_headers,
    )


def apply_fields(webhook: Webhook, fields: CheckedFields) -> tuple[Webhook, list[str]]:
    """Return the webhook with the fields applied, and the names of those that differ.

    Does not compare the headers' values. Activating a webhook clears `disabled_reason`.
    """
    values = set_fields(fields)
    values.pop("headers", None)
    changed = [
        name
        for name, value in values.items()
        if name != "header_names" and getattr(webhook, name) != value
    ]
    after = replace(webhook, **values)
    after = replace(after, all_filters=joined(webhook.all_filters, after.filters))
    return (replace(after, disabled_reason=None) if after.active else after), changed


def has_same_origin(one: Webhook, other: Webhook) -> bool:
    """Return whether two webhooks' URLs have the same scheme, host and port."""
    return origin_of(one.url) == origin_of(other.url)


def dropped_headers(webhook: Webhook, fields: CheckedFields) -> tuple[str, ...]:
    """Return the names of the headers that a change removes with the origin of the URL."""
    moves = fields.url is not UNSET and origin_of(fields.url) != origin_of(webhook.url)
    return webhook.header_names if moves and fields.headers is UNSET else ()


def difference(webhook: Webhook, fields: CheckedFields) -> dict[str, Any]:
    """Map each field that would change to its values before and after, as audit events show."""
    after, changed = apply_fields(webhook, fields)
    before_view, after_view = audit_view(webhook), audit_view(after)
    dropped = dropped_headers(webhook, fields)
    shown = {name: [before_view[name], after_view[name]] for name in changed}
    return shown | ({"header_names": [list(dropped), []]} if dropped else {})


def following(webhook: Webhook, absence: str | None) -> Webhook:
    """Return the webhook as it follows its creator; the same one if nothing changes.

    `absence` is why the creator could not create it now, None if they could. A webhook that an
    admin paused, or a receiver disabled, stays as it is.
    """
    waits = not webhook.active and webhook.disabled_reason in CREATOR_ABSENT
    if absence is None:
        return replace(webhook, active=True, disabled_reason=None) if waits else webhook
    if webhook.active or waits:
        return replace(webhook, active=False, disabled_reason=f"creator_{absence}")
    return webhook


def next_version(webhook: Webhook) -> Webhook:
    """Return the webhook with its version incremented."""
    return replace(webhook, version=webhook.version + 1)


def target(webhook: Webhook) -> str:
    """Return a webhook's name in audit events."""
    return f"webhook:{webhook.id}"


def audit_view(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook as audit events show it, without its URL's query: that may hold a token."""
    return {
        "url": webhook.url.partition("?")[0],
        "filters": {
            "rings": list(webhook.filters.rings),
            "types": list(webhook.filters.types),
            "min_urgency": webhook.filters.min_urgency,
        },
        "active": webhook.active,
        "disabled_reason": webhook.disabled_reason,
        "description": webhook.description,
        "retry_schedule": list(webhook.schedule),
        "header_names": list(webhook.header_names),
        "created_by": webhook.maker.created_by,
        "created_by_key": webhook.maker.created_by_key,
        "version": webhook.version,
    }


def not_found() -> NotFound:
    """Return the error for a webhook that does not exist or belongs to another account."""
    return NotFound("Webhook not found", code="WEBHOOK_NOT_FOUND")


def _bad_field(field: str, problem: str) -> BadInput:
    return BadInput(f"{field} {problem}", details={"field": field})
