"""A value for fields that a request left out, where null has a meaning of its own."""

from __future__ import annotations

from enum import Enum


class Unset(Enum):
    """The type of `UNSET`: compare with `is UNSET`."""

    UNSET = "unset"


UNSET = Unset.UNSET
