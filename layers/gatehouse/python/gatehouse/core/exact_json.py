"""JSON whose numbers stay as they were written: 0.10, 1e-400, thirty digits.

Python reads a fraction as a float and would write another number: 0.1, 0.0, seventeen digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Self

LONGEST_NUMBER = 1_000  # characters of one number in a request


class WrittenNumber(float):
    """A number as it was written; its float is the nearest one, which may be zero or infinite."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Keep the text of a number."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __eq__(self, other: object) -> bool:
        """Two written numbers are the same if they are written the same."""
        if isinstance(other, WrittenNumber):
            return self.text == other.text
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        """Return the opposite of `==`; a float has its own."""
        return not self == other

    def __hash__(self) -> int:
        """Return the float's hash, which equal texts share."""
        return super().__hash__()

    def __reduce__(self) -> tuple[type[WrittenNumber], tuple[str]]:
        """Copy the text too."""
        return WrittenNumber, (self.text,)


def read_integer(text: str) -> int | WrittenNumber:
    """Read a whole number. Only minus zero is not what Python would write."""
    return WrittenNumber(text) if text == "-0" else int(text)


def loads(text: str) -> Any:
    """Parse JSON that `dumps` wrote."""
    return json.loads(text, parse_float=WrittenNumber, parse_int=read_integer)


def dumps(value: Any, *, sort_keys: bool = False, ascii_only: bool = False) -> str:
    """Return compact JSON. Raises TypeError for what JSON does not have."""
    quote = encode_basestring_ascii if ascii_only else encode_basestring

    def written(one: Any) -> str:
        if isinstance(one, str):
            return quote(one)
        if isinstance(one, WrittenNumber):
            return one.text
        if isinstance(one, Mapping):
            names = sorted(one) if sort_keys else one
            return f"{{{','.join(f'{quote(name)}:{written(one[name])}' for name in names)}}}"
        if isinstance(one, list | tuple):
            return f"[{','.join(map(written, one))}]"
        return json.dumps(one, allow_nan=False)

    return written(value)
