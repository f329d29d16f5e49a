"""Who made a thing that acts or receives later. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from gatehouse.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Maker:
    """The identity and the key that made a thing: `identity:<id>` and `api_key:<id>`.

    The identity may be `system:bootstrap`; the key is None then.
    """

    created_by: str
    created_by_key: str | None = None

    @classmethod
    def of(cls, caller: Principal) -> Self:
        """Return a caller as the maker of what their request creates."""
        return cls(f"identity:{caller.identity_id}", f"api_key:{caller.key_id}")

    @property
    def identity_id(self) -> str | None:
        """The bare id of the identity; None if the stack itself made the thing."""
        kind, _, bare = self.created_by.partition(":")
        return bare if kind == "identity" else None

    @property
    def key_id(self) -> str | None:
        """The bare id of the key; None if the stack itself made the thing."""
        key = self.created_by_key
        return None if key is None else key.removeprefix("api_key:")


BOOTSTRAP = Maker("system:bootstrap")


class Makers(Protocol):
    """Whose things are meant: those of an identity, or of a family of keys."""

    def among(self, makers: Iterable[Maker]) -> Collection[Maker]:
        """Return which of these makers are meant."""


class HasMaker(Protocol):
    """Something that acts or receives later."""

    @property
    def maker(self) -> Maker:
        """Who made it."""


Thing = TypeVar("Thing", bound=HasMaker)


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Means the things of one identity, given by its bare id."""

    identity_id: str

    def among(self, makers: Iterable[Maker]) -> set[Maker]:
        """Return the makers that are this identity, with whatever key."""
        return {maker for maker in makers if maker.identity_id == self.identity_id}


def select(things: Iterable[Thing], by: Makers) -> list[Thing]:
    """Return those of some things that these makers made."""
    listed = list(things)
    meant = by.among({one.maker for one in listed})
    return [one for one in listed if one.maker in meant]
