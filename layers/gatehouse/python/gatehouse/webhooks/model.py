from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatehouse.core.clock import Micros
from gatehouse.core.maker import BOOTSTRAP, Maker
from gatehouse.core.unset import UNSET, Unset

MOST_WEBHOOKS = 100  # of one account

# Seconds to wait before the second, third and fourth attempt, if a webhook sets no schedule.
DEFAULT_SCHEDULE = (5, 30, 300)
MOST_STEPS = 20  # of a schedule
LONGEST_SCHEDULE_DAYS = 5  # all waits together

# The type of each filter in JSON and YAML; schemas and bootstrap files are made from it.
FILTER_TYPES: Mapping[str, type] = {"rings": list, "types": list, "min_urgency": float}
MOST_FILTERED = 50  # entries of a list
MOST_REMEMBERED = 200  # entries of a list of `all_filters`; with more it matches all
LONGEST_RING = 64  # characters
LOWEST_URGENCY, HIGHEST_URGENCY = 0, 1

LONGEST_DESCRIPTION = 500

# `disabled_reason` of a webhook whose creator is no active admin, or has a ceiling that allows less
# than it receives; it ends when they could create it again.
CREATOR_ABSENT = ("creator_suspended", "creator_removed", "creator_demoted", "creator_narrowed")
# ... and of one whose key was revoked together with what it made; another admin may activate it.
KEY_REVOKED = "creator_key_revoked"

SECRET_PREFIX = "whsec_"  # noqa: S105 - the start of every secret, as Standard Webhooks has it
SECRET_BYTES = 32  # of a secret that we create
FEWEST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64  # of a secret that an operator provides
DEFAULT_GRACE_SECONDS = 86_400
LONGEST_GRACE_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Filters:
    """Which signals a webhook receives. All filters must match; an empty list matches all.

    `min_urgency` is a number from 0 to 1 as text, because no fractions are stored.
    """

    rings: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    min_urgency: str = str(LOWEST_URGENCY)


@dataclass(frozen=True, slots=True)
class NewFilters:
    """Filters as a request or a file contains them, unchecked."""

    rings: Sequence[str] = ()
    types: Sequence[str] = ()
    min_urgency: float = LOWEST_URGENCY


@dataclass(frozen=True, slots=True)
class WebhookFields:
    """The fields that a request or a file sets, to create or to change a webhook.

    UNSET leaves a field as it is; None sets its default. `headers` maps names to values.
    """

    url: str | Unset | None = UNSET
    filters: NewFilters | Unset | None = UNSET
    active: bool | Unset = UNSET
    description: str | Unset | None = UNSET
    retry_schedule: Sequence[int] | Unset | None = UNSET
    headers: Mapping[str, str] | Unset | None = field(default=UNSET, repr=False)


@dataclass(frozen=True, slots=True)
class CheckedFields:
    """`WebhookFields` after the checks: values as the webhook stores them, no None."""

    url: str | Unset = UNSET
    filters: Filters | Unset = UNSET
    active: bool | Unset = UNSET
    description: str | Unset = UNSET
    retry_schedule: tuple[int, ...] | Unset = UNSET
    header_names: tuple[str, ...] | Unset = UNSET
    headers: Mapping[str, str] | Unset = field(default=UNSET, repr=False)


@dataclass(frozen=True, slots=True)
class Slowness:
    """Whether a webhook's receiver is slow, so that its attempts go through the slow lane.

    `since` is the time of the last mark, also when it was cleared; `count` is how many marks there
    were, each within a day of the one before.
    """

    slow: bool = False
    since: Micros | None = None
    count: int = 0


NOT_SLOW = Slowness()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that receives signals. Its secret and its headers' values are stored encrypted.

    `failing` is set when a delivery becomes a dead letter, `failure_count` counts failed attempts;
    the next success clears both. `disabled_reason` is None if an admin paused the webhook.
    `retry_schedule` is in seconds, () for the default. `version` grows with every change that an
    admin or a 410 makes, not with the statistics. `all_filters` match whatever `filters` ever
    matched, so also the deliveries of that time that may still be sent. `maker` is responsible for
    the webhook: who created it, or activated it after the creator was gone.
    """

    id: str
    account_id: str
    url: str
    created_at: Micros
    filters: Filters = Filters()
    all_filters: Filters = Filters()
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
    maker: Maker = BOOTSTRAP
    slowness: Slowness = NOT_SLOW

    @property
    def schedule(self) -> tuple[int, ...]:
        """Return the waits between attempts, in seconds."""
        return self.retry_schedule or DEFAULT_SCHEDULE


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret and when it expires; None: never."""

    text: str = field(repr=False)
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The secrets of one webhook as they are stored encrypted, oldest first.

    `seeded` is the digest of the last secret that a bootstrap file provided, even if the secret
    was rotated since; None if there was none.
    """

    secrets: tuple[Secret, ...] = ()
    seeded: str | None = None


@dataclass(frozen=True, slots=True)
class UpdatedWebhook:
    """A webhook after a change, and the headers that the change removed.

    Header values are bound to the origin of the URL. A change of the origin without new headers
    removes them.
    """

    webhook: Webhook
    dropped_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """What an attempt is signed and sent with: the live secrets, oldest first, and headers."""

    secrets: tuple[str, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedWebhook:
    """A new webhook and its secret, which is shown once."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """A webhook, its new secret, which is shown once, and when the old secret expires."""

    webhook: Webhook
    secret: str = field(repr=False)
    old_ends_at: Micros
