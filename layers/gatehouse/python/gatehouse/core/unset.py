"""A value for fields that a request left out, where null has a meaning of its own."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any


class Unset(Enum):
    """The type of `UNSET`: compare with `is UNSET`."""

    UNSET = "unset"


UNSET = Unset.UNSET


def set_fields(patch: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are set, by name, in the order of its class."""
    values = {field.name: getattr(patch, field.name) for field in fields(patch)}
    return {name: value for name, value in values.items() if value is not UNSET}
