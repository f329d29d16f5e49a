from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants
from gatehouse.identities.model import ClawType, IdentityType
from gatehouse.webhooks.model import WebhookFields


@dataclass(frozen=True, slots=True)
class Located:
    """A value of the file and its line, counted from 1.

    `value` is a dict of name → Located, a list of Located, or a plain value.
    """

    value: Any
    line: int

    def at(self, *path: str | int) -> Located:
        """Return the value at a path of names and indexes, or the nearest one above it."""
        located = self
        for part in path:
            try:
                located = located.value[part]
            except (KeyError, IndexError, TypeError):
                break
        return located

    def plain(self) -> Any:
        """Return the value without lines."""
        if isinstance(self.value, dict):
            return {name: one.plain() for name, one in self.value.items()}
        return [one.plain() for one in self.value] if isinstance(self.value, list) else self.value

    def error(self, where: str, what: str) -> BadInput:
        """Return the error about this value. `where` names its field."""
        return BadInput(
            f"line {self.line}: {where} {what}", details={"line": self.line, "field": where}
        )


@dataclass(frozen=True, slots=True)
class SeedIdentity:
    """An identity that the file declares. A later file finds it by its name."""

    name: str
    type: IdentityType
    claw_type: ClawType
    is_admin: bool
    ceiling: Grants


@dataclass(frozen=True, slots=True)
class SeedName:
    """A ring or a role that the file declares. `kind` is `ring` or `role`."""

    kind: str
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class SeedInvite:
    """An invite that the file declares. It is created once and never changed."""

    name: str
    type: IdentityType
    max_uses: int
    grants: Grants


@dataclass(frozen=True, slots=True)
class SeedWebhook:
    """A webhook that the file declares; only the types of its fields are checked.

    `fields` sets None, and so the default again, for what the entry leaves out; except `active`,
    which stays as it is: admins and receivers that answer 410 change it from day to day. `lines`
    are the lines of the fields by name, `line` is that of the entry.
    `secret_env` names an environment variable of the machine that applies the file; None: a secret
    is generated.
    """

    name: str
    where: str
    line: int
    fields: WebhookFields
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
class PlannedStep:
    """What applying the file does to one entry: `verb` is add, update or keep.

    `detail` has the changes, from and to. `shown` is printed once: an invite's code, or a
    webhook's secret that was generated.
    """

    verb: str
    kind: str
    name: str
    detail: Mapping[str, Any]
    shown: str | None = None
