"""Types of fields in requests: what each may hold, checked before any work, and documented.

A bound here keeps a request cheap: no list is looked at beyond it. What a value means, the rooms
check.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gatehouse.core import ids
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import KNOWN_SCOPES, MOST_ENTRIES
from gatehouse.core.text import (
    LONGEST_LABEL,
    LONGEST_NAME,
    LONGEST_URL,
    MESSAGE_PATTERN,
    PLAIN_NOT_BLANK_PATTERN,
    PLAIN_PATTERN,
)
from gatehouse.web.bodies import WrongValue

_LONGEST_ID = 64  # a kind and a UUID
_LONGEST_MOMENT = 64
_LONGEST_CURSOR = 512
_SHOWN_KINDS = {"api_key": "API key"}
_DIGITS = re.compile("-?[0-9]+")  # A negative number is out of bounds, not malformed.
_SMALLEST_ENTRY = 6  # bytes of `"a":1,` in compact JSON


@dataclass(frozen=True)
class Between:
    """A number from `least` to `most`, both included."""

    least: int
    most: int

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "minimum": self.least, "maximum": self.most}

    def _check(self, value: float) -> float:
        if not self.least <= value <= self.most:
            raise WrongValue(f"must be from {self.least} to {self.most}")
        return value


@dataclass(frozen=True)
class AtMost:
    """A list or an object with at most `entries`, which are counted before any is looked at."""

    entries: int

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        shown = handler(schema)
        name = "maxItems" if shown["type"] == "array" else "maxProperties"
        return {**shown, name: self.entries}

    def _check(self, value: object) -> object:
        if isinstance(value, Sized) and not isinstance(value, str) and len(value) > self.entries:
            raise WrongValue(f"must have at most {self.entries} entries")
        return value


def one_of(allowed: object, *, longest: int = LONGEST_LABEL) -> Any:
    """Document the values of a text. The room checks them and names them in its error."""
    return Field(max_length=longest, json_schema_extra={"enum": [*map(str, allowed)]})  # type: ignore[call-overload]


def documented(**schema: Any) -> Any:
    """Document a bound of a parameter that the room checks."""
    return Field(json_schema_extra=schema)


def id_of(kind: str | None = None) -> Any:
    """Document an id in a body: a UUID that may begin with its kind. The room checks it."""
    start = f"({kind}:)?" if kind else ""
    return Field(
        max_length=_LONGEST_ID,
        json_schema_extra={"pattern": f"^{start}{_UUID}$"},
    )


def id_in_path(kind: str | None = None) -> Any:
    """Document an id in a path, for `read_id`: a UUID that may begin with its kind."""
    start = f"({kind}:)?" if kind else ""
    return Path(json_schema_extra={"maxLength": _LONGEST_ID, "pattern": f"^{start}{_UUID}$"})


def read_id(text: str, kind: str) -> str:
    """Return the bare id in a path. Raises BadInput."""
    bare = ids.read(text, kind=kind)
    if bare is None:
        message = f"Invalid {_SHOWN_KINDS.get(kind, kind)} id"
        raise BadInput(message, code="VALIDATION_INVALID_ID", details={"field": "id"})
    return bare


def free_form(largest: int) -> Any:
    """Bound an object whose names are the caller's. The room checks its bytes of compact JSON."""
    return AtMost(largest // _SMALLEST_ENTRY)


_UUID = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

# What `outbound` accepts, as far as a pattern can say it. Only the local stack accepts http.
_NAME = "[A-Za-z0-9_-]{1,63}"
_HOST = rf"(\[[0-9A-Fa-f:.]+\]|{_NAME}(\.{_NAME})*)(:[1-9][0-9]{{0,4}})?"
_URL = rf"^https?://{_HOST}([/?][!$-;=?-\[\]^_a-z{{-~]*)?$"


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


# Zero and one without a fraction, as JSON parsers write them.
Fraction = Annotated[float, PlainSerializer(_whole, return_type=int | float)]
# A text that is not blank; the rooms refuse a blank one as missing.
MESSAGE: dict[str, Any] = {"minLength": 1, "pattern": MESSAGE_PATTERN}
PLAIN: dict[str, Any] = {"pattern": PLAIN_PATTERN}
PLAIN_NOT_BLANK: dict[str, Any] = {"minLength": 1, "pattern": PLAIN_NOT_BLANK_PATTERN}
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=LONGEST_NAME),
    Field(json_schema_extra=PLAIN_NOT_BLANK),
]
Label = Annotated[str, Field(max_length=LONGEST_LABEL, json_schema_extra={"minLength": 1, **PLAIN})]
# A label that is only compared: a blank one is like none that exists.
AskedLabel = Annotated[str, Field(max_length=LONGEST_LABEL)]
Labels = Annotated[list[Label], AtMost(MOST_ENTRIES)]
Scopes = Annotated[list[Annotated[str, one_of(KNOWN_SCOPES)]], AtMost(MOST_ENTRIES)]
Moment = Annotated[
    str, Field(max_length=_LONGEST_MOMENT, json_schema_extra={"format": "date-time"})
]
Url = Annotated[
    str, Field(max_length=LONGEST_URL, json_schema_extra={"format": "uri", "pattern": _URL})
]

After = Annotated[str, documented(maxLength=_LONGEST_CURSOR)] | None


def _digits(value: object) -> object:
    """Refuse what pydantic also reads as a number: `+5`, spaces, `5.0`, `1_0`, other digits."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise PydanticCustomError("int_parsing", "must be digits")
    return value


def _true_or_false(value: object) -> object:
    """Refuse what pydantic also reads as a boolean: `1`, `yes`, `on`, `True`."""
    if isinstance(value, str) and value not in {"true", "false"}:
        raise PydanticCustomError("bool_parsing", "must be true or false")
    return value


# Query parameters that are numbers and booleans, as they are written in a URL.
Limit = Annotated[int, Query(ge=1, le=100), BeforeValidator(_digits)]
Flag = Annotated[bool, BeforeValidator(_true_or_false)]
