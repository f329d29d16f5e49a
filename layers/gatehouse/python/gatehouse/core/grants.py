"""What a key or an identity may do: scopes and permissions, and how two of them compare.

Both are restrictions and both always apply. No scopes allow nothing; an empty permission list
restricts nothing. The surfaces document this asymmetry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

AREAS = ("agents", "telemetry", "factory", "services", "commanders")
ATOMS = (*(f"{area}:{verb}" for area in AREAS for verb in ("read", "write")), "admin:manage")
EVERYTHING = ("*", "all")
WILDCARDS = (*EVERYTHING, *(f"{area}:*" for area in (*AREAS, "admin")), "*:read", "*:write")
KNOWN_SCOPES = (*ATOMS, *WILDCARDS)

SIGNAL_TYPES = ("pulse", "sense", "task", "query", "alert", "artifact", "proposal", "shift")
MEMORY_OPERATIONS = ("store", "list", "query", "recall", "forget", "update", "relate", "graph")

MOST_ENTRIES = 50


@dataclass(frozen=True, slots=True)
class Permissions:
    """Four lists; an empty list is unrestricted."""

    signal_types: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    ring_scopes: tuple[str, ...] = ()
    memory_scopes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[str]]:
        """Return all four lists, so that no reader needs a default."""
        return {part.name: list(getattr(self, part.name)) for part in fields(self)}

    @classmethod
    def from_dict(cls, lists: Mapping[str, Iterable[str]]) -> Self:
        """Build from what `to_dict` returned; a missing list is empty."""
        return cls(**{part.name: tuple(lists.get(part.name, ())) for part in fields(cls)})


@dataclass(frozen=True, slots=True)
class Grants:
    """The two restrictions together."""

    scopes: tuple[str, ...] = ()
    permissions: Permissions = Permissions()

    def opens(self, scope: str) -> bool:
        """Return whether one of the scopes covers `area:verb`. Write does not include read."""
        return any(covers(pattern, scope) for pattern in self.scopes)

    def excess_over(self, ceiling: Grants) -> dict[str, list[str]]:
        """Return what these grants have and `ceiling` has not; empty if all is within it.

        A list that is unrestricted here and restricted there shows as `["*"]`.
        """
        excess: dict[str, list[str]] = {}
        beyond = [
            scope
            for scope in self.scopes
            if not any(covers(pattern, scope) for pattern in ceiling.scopes)
        ]
        if beyond:
            excess["scopes"] = beyond
        for part in fields(Permissions):
            mine: tuple[str, ...] = getattr(self.permissions, part.name)
            most: tuple[str, ...] = getattr(ceiling.permissions, part.name)
            if not most:
                continue
            outside = [entry for entry in mine if entry not in most] if mine else ["*"]
            if outside:
                excess[part.name] = outside
        return excess

    def cut_to(self, ceiling: Grants) -> Grants | None:
        """Return what both these grants and `ceiling` have.

        None if a permission list would become empty, since an empty list is unrestricted.
        """
        scopes = [one for one in self.scopes if any(covers(most, one) for most in ceiling.scopes)]
        for scope in (*ceiling.scopes, *ATOMS):
            if ceiling.opens(scope) and self.opens(scope):
                held = any(covers(kept, scope) for kept in scopes)
                scopes += [] if held else [scope]
        lists = {}
        for part in fields(Permissions):
            mine: tuple[str, ...] = getattr(self.permissions, part.name)
            most: tuple[str, ...] = getattr(ceiling.permissions, part.name)
            both = tuple(entry for entry in mine if entry in most)
            if mine and most and not both:
                return None
            lists[part.name] = both or mine or most
        return Grants(tuple(scopes), Permissions(**lists))

    def to_text(self) -> str:
        """Return the grants as one JSON text."""
        return json.dumps(
            {"scopes": list(self.scopes), **self.permissions.to_dict()}, separators=(",", ":")
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Build from what `to_text` returned."""
        lists = json.loads(text)
        return cls(tuple(lists.pop("scopes")), Permissions.from_dict(lists))


FULL = Grants(("*",), Permissions())


def covers(pattern: str, scope: str) -> bool:
    """Return whether a pattern covers a scope, which may itself be a wildcard."""
    if pattern in EVERYTHING:
        return True
    if scope in EVERYTHING:
        return False
    pattern_area, _, pattern_verb = pattern.partition(":")
    area, _, verb = scope.partition(":")
    return pattern_area in {"*", area} and pattern_verb in {"*", verb}


def audit_view(grants: Grants) -> dict[str, Any]:
    """Return grants as an audit event shows them."""
    return {"scopes": list(grants.scopes), "permissions": grants.permissions.to_dict()}
