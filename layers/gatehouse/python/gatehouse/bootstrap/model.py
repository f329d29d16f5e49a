from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatehouse.core.grants import Grants
from gatehouse.identities.model import ClawType, IdentityType


@dataclass(frozen=True, slots=True)
class Located:
    """A value of the file and the line it stands on, counted from 1.

    `value` is a dict of name → Located, a list of Located, or a plain value.
    """

    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class SeedIdentity:
    """An identity that is to be there. Its name is what a later file finds it by."""

    name: str
    type: IdentityType
    claw_type: ClawType
    is_admin: bool
    ceiling: Grants


@dataclass(frozen=True, slots=True)
class SeedName:
    """A ring or a role: `kind` is one of the two."""

    kind: str
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class SeedInvite:
    """An invite that is to be made, once; its terms are those of its first day."""

    name: str
    type: IdentityType
    max_uses: int
    grants: Grants


@dataclass(frozen=True, slots=True)
class SeedWebhook:
    """A webhook that is to be there, as the file has it: its bounds are the webhooks' own.

    `fields` are plain values by name, `lines` say where they stand, `line` where the entry does.
    `secret_env` names a variable of the machine that applied the file; None: make a secret.
    """

    name: str
    where: str
    line: int
    fields: Mapping[str, Any]
    lines: Mapping[str, int]
    secret_env: str | None


@dataclass(frozen=True, slots=True)
class Seed:
    """A whole file, checked."""

    identities: tuple[SeedIdentity, ...] = ()
    names: tuple[SeedName, ...] = ()
    invites: tuple[SeedInvite, ...] = ()
    webhooks: tuple[SeedWebhook, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What applying the file does to one thing: add, update or keep it.

    `detail` names what changes, from and to. `shown` is what is printed once: an invite's
    code, a webhook's secret that was made here.
    """

    verb: str
    kind: str
    name: str
    detail: Mapping[str, Any]
    shown: str | None = None
