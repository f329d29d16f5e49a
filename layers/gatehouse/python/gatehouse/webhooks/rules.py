"""What a webhook may say, which signals it wants, and how its secrets follow each other. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.outbound.headers import check_custom
from gatehouse.webhooks.model import Filters, Material, Sealed, Secret, Webhook

SECRET_BYTES = 32
FEWEST_BYTES, MOST_BYTES = 24, 64  # of a secret that is brought along
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
DEFAULT_GRACE = 86_400  # seconds
LONGEST_GRACE = 7 * 86_400
LONGEST_DESCRIPTION = 500
MOST_FILTERED = 50
LONGEST_RING = 64
MOST_STEPS = 20
LONGEST_SCHEDULE = 5 * 86_400


def matches(webhook: Webhook, *, type: str, to_ring: str | None, urgency: str) -> bool:  # noqa: A002 - the field's name
    """Tell whether a webhook wants a signal, active or not. A ping is wanted by nobody."""
    wanted = webhook.filters
    return (
        type in (wanted.types or SIGNAL_TYPES)
        and (not wanted.rings or to_ring in wanted.rings)
        and Decimal(urgency) >= Decimal(wanted.min_urgency)
    )


def filters_of(rings: Iterable[str], types: Iterable[str], *, min_urgency: float) -> Filters:
    """Check filters."""
    known = tuple(dict.fromkeys(types))
    unknown = [one for one in known if one not in SIGNAL_TYPES]
    if unknown:
        raise _refused("filters.types", f"must be among {', '.join(SIGNAL_TYPES)}")
    named = tuple(dict.fromkeys(rings))
    if len(named) > MOST_FILTERED:
        raise _refused("filters.rings", f"must have at most {MOST_FILTERED} entries")
    for ring in named:
        if not 0 < len(ring) <= LONGEST_RING or not ring.isprintable():
            raise _refused(
                "filters.rings", f"must have printable entries of 1 to {LONGEST_RING} characters"
            )
    if not 0 <= min_urgency <= 1:
        raise _refused("filters.min_urgency", "must be from 0 to 1")
    return Filters(named, known, _plain_number(min_urgency))


def _plain_number(value: float) -> str:
    # 1, 1.0 and 1.00 are one number, and are to be one text.
    return str(abs(Decimal(repr(value))).normalize())


def description_of(text: str | None) -> str:
    """Check a description; None is an empty one."""
    if text is None:
        return ""
    if len(text) > LONGEST_DESCRIPTION or not text.isprintable():
        raise _refused("description", f"must be at most {LONGEST_DESCRIPTION} printable characters")
    return text


def schedule_of(steps: Iterable[int] | None) -> tuple[int, ...]:
    """Check a retry schedule in seconds; None is the default, written ()."""
    if steps is None:
        return ()
    schedule = tuple(steps)
    if not 1 <= len(schedule) <= MOST_STEPS:
        raise _refused("retry_schedule", f"must have 1 to {MOST_STEPS} steps")
    if min(schedule) < 1:
        raise _refused("retry_schedule", "must have steps of at least one second")
    if sum(schedule) > LONGEST_SCHEDULE:
        raise _refused("retry_schedule", "must not be longer than 5 days in all")
    return schedule


def headers_of(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Check custom headers; None becomes {}. The BadInput names the header, never its value."""
    return check_custom(headers)


def names_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Name headers in the order in which they are shown."""
    return tuple(sorted(headers, key=str.lower))


def grace_of(seconds: int | None) -> Micros:
    """Check a rotation's grace; None is a day."""
    given = DEFAULT_GRACE if seconds is None else seconds
    if not 0 <= given <= LONGEST_GRACE:
        raise _refused("grace_seconds", f"must be from 0 to {LONGEST_GRACE}")
    return given * SECOND


def checked(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Check what was given of a webhook: its fields, and its headers, None where none were.

    `fields`: url, filters, active, description, retry_schedule, headers. Where the URL leads is
    not judged here.
    """
    wanted = dict(fields)
    if "url" in wanted and not wanted["url"]:
        raise FieldRequired("url")
    if "filters" in wanted:
        wanted["filters"] = wanted["filters"] or Filters()
    if "description" in wanted:
        wanted["description"] = description_of(wanted["description"])
    if "retry_schedule" in wanted:
        wanted["retry_schedule"] = schedule_of(wanted["retry_schedule"])
    if "headers" not in wanted:
        return wanted, None
    headers = headers_of(wanted.pop("headers"))
    wanted["header_names"] = names_of(headers)
    return wanted, headers


def changed(webhook: Webhook, wanted: Mapping[str, Any]) -> tuple[Webhook, list[str]]:
    """Give the webhook as checked fields make it, and which of them change anything.

    The headers' values are not part of it. To be made active clears why it was disabled.
    """
    names = [
        name
        for name, value in wanted.items()
        if name != "header_names" and getattr(webhook, name) != value
    ]
    after = replace(webhook, **wanted)
    return (replace(after, disabled_reason=None) if after.active else after), names


def difference(webhook: Webhook, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Name what checked fields change, from and to, as audit events show it."""
    after, names = changed(webhook, wanted)
    before_view, after_view = audit_view(webhook), audit_view(after)
    return {name: [before_view[name], after_view[name]] for name in names}


def next_version(webhook: Webhook) -> Webhook:
    """Give the webhook as its next version."""
    return replace(webhook, version=webhook.version + 1)


def secret_of(text: str) -> str:
    """Check a secret that somebody brings along. The refusal never shows it."""
    try:
        raw = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(SECRET_PREFIX) or not FEWEST_BYTES <= len(raw) <= MOST_BYTES:
        raise _refused(
            "secret", f"must be whsec_ and base64 of {FEWEST_BYTES} to {MOST_BYTES} bytes"
        )
    return text


def digest(secret: str) -> str:
    """Tell secrets apart without keeping them."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_text(random: bytes) -> str:
    """Write a secret: whsec_ and base64."""
    return SECRET_PREFIX + base64.b64encode(random).decode()


def rotated(
    sealed: Sealed, new: str, *, grace: Micros, now: Micros, seeded: bool = False
) -> Sealed:
    """Put a new secret behind the current one, which lives on for the grace.

    At most two live: one that was in its grace already ends. `seeded`: it was brought along.
    """
    last = digest(new) if seeded else sealed.seeded
    current = sealed.secrets[-1:]
    if [one.text for one in current] == [new]:
        return replace(sealed, seeded=last)
    old = (Secret(one.text, now + grace) for one in current if grace)
    return Sealed((*old, Secret(new)), sealed.headers, last)


def material(sealed: Sealed, *, now: Micros) -> Material:
    """Give what holds now."""
    live = (one.text for one in sealed.secrets if one.until is None or one.until > now)
    return Material(tuple(live), dict(sealed.headers))


def write_sealed(sealed: Sealed) -> str:
    """Write what the vault keeps. Stored secrets depend on this form."""
    secrets = [{"text": one.text, "until": one.until} for one in sealed.secrets]
    kept = {"secrets": secrets, "headers": dict(sealed.headers)}
    return json.dumps(kept if sealed.seeded is None else {**kept, "seeded": sealed.seeded})


def read_sealed(text: str) -> Sealed:
    """Read what `write_sealed` wrote."""
    found = json.loads(text)
    secrets = tuple(Secret(one["text"], one["until"]) for one in found["secrets"])
    return Sealed(secrets, found["headers"], found.get("seeded"))


def target(webhook: Webhook) -> str:
    """Name a webhook in an audit event."""
    return f"webhook:{webhook.id}"


def audit_view(webhook: Webhook) -> dict[str, Any]:
    """Show a webhook in an audit event: without its URL's query, which may hold a token."""
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
        "version": webhook.version,
    }


def _refused(field: str, what: str) -> BadInput:
    return BadInput(f"{field} {what}", details={"field": field})
