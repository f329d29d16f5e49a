"""Who made a thing that acts or receives later. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

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


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Selects things by the identity or the keys that created them. Ids are bare."""

    identity_id: str | None = None
    key_ids: frozenset[str] = frozenset()

    def includes(self, maker: Maker) -> bool:
        """Return whether the identity, or one of the keys, is this maker."""
        if self.identity_id is not None and maker.identity_id == self.identity_id:
            return True
        return maker.key_id in self.key_ids
