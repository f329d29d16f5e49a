from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatehouse.core.clock import Micros

MOST_WEBHOOKS = 100

# Seconds to wait before the second, third and fourth attempt, where nothing else was asked for.
DEFAULT_SCHEDULE = (5, 30, 300)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which signals a webhook wants. All three must hold; an empty list means all.

    `min_urgency` is the text of a number from 0 to 1, since nothing here stores fractions.
    """

    rings: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    min_urgency: str = "0"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that wants signals. Its secret and the values of its headers are in the vault.

    `failing` is set by a dead delivery, `failure_count` counts failed attempts; the next success
    clears both. `disabled_reason` is None where an admin paused it. `retry_schedule` is in seconds,
    () for the default. `version` moves with every change of what an admin decides, never with the
    statistics.
    """

    id: str
    account_id: str
    url: str
    created_at: Micros
    filters: Filters = Filters()
    active: bool = True
    description: str = ""
    retry_schedule: tuple[int, ...] = ()
    header_names: tuple[str, ...] = ()
    version: int = 1
    failing: bool = False
    failure_count: int = 0
    last_success_at: Micros | None = None
    last_failure_at: Micros | None = None
    disabled_reason: str | None = None

    @property
    def schedule(self) -> tuple[int, ...]:
        """Give the waits that hold, in seconds."""
        return self.retry_schedule or DEFAULT_SCHEDULE


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret and when it ends; None: it does not."""

    text: str = field(repr=False)
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the vault keeps of one webhook: its secrets, oldest first, and its headers' values.

    `seeded` is the digest of the last secret that was brought along, whatever came after it.
    """

    secrets: tuple[Secret, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    seeded: str | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What a delivery is signed and sent with: live secrets, the old one first, and headers."""

    secrets: tuple[str, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """A webhook and a secret of it in its only showing."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rotated:
    """A webhook, its new secret in its only showing, and when the old one ends."""

    webhook: Webhook
    secret: str = field(repr=False)
    old_ends_at: Micros
