"""Parses request bodies strictly, with errors that name the field."""

import json
import math
from collections.abc import Sequence
from typing import Any

from gatehouse.core import clock
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput, FieldRequired, TooLarge

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 32

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_type": "a string",
}


def parse(raw: bytes, content_type: str | None) -> Any:
    """Parse a JSON body. An empty body is an empty object, whatever its content type.

    Raises TooLarge, or BadInput for another content type, malformed JSON, text that is not
    Unicode, numbers that JSON does not have, and duplicate keys, which parsers read differently.
    """
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"The body is over {MAX_BYTES // 1024} KiB")
    if not raw:
        return {}
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise BadInput("Content-Type must be application/json", code="VALIDATION_CONTENT_TYPE")
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        # The parser accepts lone surrogates, and encoding them later would fail.
        json.dumps(value, ensure_ascii=False).encode()
        too_deep = _depth(value) > _MAX_DEPTH
    except (ValueError, RecursionError) as error:
        if isinstance(error, _DuplicateKeyError):
            raise BadInput(
                f"Duplicate key in JSON: {error}", code="VALIDATION_DUPLICATE_KEY"
            ) from error
        raise BadInput("Malformed JSON", code="VALIDATION_MALFORMED_JSON") from error
    if too_deep:
        raise BadInput(f"JSON nests deeper than {_MAX_DEPTH}", code="VALIDATION_MALFORMED_JSON")
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object", code="VALIDATION_INVALID_TYPE")
    return value


def explain(errors: Sequence[Any]) -> BadInput:
    """Convert pydantic's errors into one that names the first wrong field."""
    first = errors[0]
    kind, context = first["type"], first.get("ctx", {})
    # A name within an object is the caller's text.
    field = ".".join(ascii(part).strip("'")[:64] for part in first["loc"][1:]) or "body"
    if kind == "missing":
        return FieldRequired(field)
    code = "VALIDATION_INVALID_VALUE"
    if kind in _EXPECTED:
        reason, code = f"must be {_EXPECTED[kind]}", "VALIDATION_INVALID_TYPE"
    elif kind in {"literal_error", "enum"}:
        reason = f"must be one of {context.get('expected', '').replace(' or ', ', ')}"
    elif "ge" in context:
        reason = f"must be at least {context['ge']}"
    elif "le" in context:
        reason = f"must be at most {context['le']}"
    elif "max_length" in context:
        unit = "entries" if kind == "too_long" else "characters"
        reason = f"must have at most {context['max_length']} {unit}"
    else:
        reason = "is not valid"
    return BadInput(f"{field} {reason}", code=code, details={"field": field})


def moment(text: str | None, *, field: str) -> Micros | None:
    """Parse a timestamp; None stays None. Raises BadInput."""
    if text is None:
        return None
    try:
        return clock.parse(text)
    except ValueError as error:
        raise BadInput(
            f"{field} must be an RFC 3339 timestamp with Z or an offset", details={"field": field}
        ) from error


class _DuplicateKeyError(ValueError):
    """An object has the same key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value_by_name: dict[str, Any] = {}
    for name, value in pairs:
        if name in value_by_name:
            # The name is the caller's text: repeat only its first, printable characters.
            shown = ascii(name)[1:-1]
            raise _DuplicateKeyError(shown[:64])
        value_by_name[name] = value
    return value_by_name


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _finite(text: str) -> float:
    # 1e400 is valid JSON, but reads as infinity, which JSON cannot express.
    value = float(text)
    if math.isinf(value):
        raise ValueError("number out of range")
    return value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max((_depth(entry) for entry in value), default=0)
    return 0
