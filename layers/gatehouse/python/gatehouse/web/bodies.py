"""Parses request bodies strictly, with errors that name the field."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, overload

from gatehouse.core import clock
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput, FieldRequired, TooLarge, UnsupportedCharset
from gatehouse.core.exact_json import LONGEST_NUMBER, WrittenNumber, read_integer
from gatehouse.core.nearest import find_nearest

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 32
_REPLACEMENT = "\ufffd"
_LONGEST_SHOWN = 64  # characters of a caller's name that an error repeats

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


def parse(raw: bytes, content_type: str | None, *, exact: bool = True) -> Any:
    """Parse a JSON body. An empty body is an empty object, whatever its content type.

    `exact` is false if API Gateway decoded the body: then U+FFFD may stand for bytes that were no
    UTF-8, and different bodies would look the same. JSON can write this character as an escape.

    Raises TooLarge, UnsupportedCharset, or BadInput for another content type, bytes that are not
    UTF-8, malformed JSON, text that is not Unicode, numbers that are too long or that JSON does not
    have, and duplicate keys, which parsers read differently.
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
    text = _decoded(raw, content_type or "", exact=exact)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_number(WrittenNumber),
            parse_int=_number(read_integer),
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


def _decoded(raw: bytes, content_type: str, *, exact: bool) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in {"utf-8", "utf8"}:
            raise UnsupportedCharset("The body must be in UTF-8, not in another charset")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput("The body is not UTF-8", code="VALIDATION_CHARSET") from error
    if not exact and _REPLACEMENT in text:
        raise BadInput(
            "The body is not UTF-8. In JSON, write U+FFFD as \\ufffd", code="VALIDATION_CHARSET"
        )
    return text


class WrongValue(ValueError):
    """What a field's own validator raises; the message continues the field's name."""


class UnknownName(ValueError):
    """An object has a field that its model does not know."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)


def refuse_fields(value: Mapping[str, Any]) -> None:
    """Refuse a body with any field, where a route has none. Raises BadInput."""
    for name in value:
        raise unknown(name, (), what="field")


def check_query(sent: Iterable[tuple[str, str]], known: Collection[str]) -> None:
    """Refuse query parameters that are unknown or given twice. Raises BadInput."""
    seen: set[str] = set()
    for name, _ in sent:
        if name not in known:
            raise unknown(name, known, what="query parameter")
        if name in seen:
            raise BadInput(
                f"Query parameter {name} is given twice",
                code="VALIDATION_DUPLICATE_PARAMETER",
                details={"field": name},
            )
        seen.add(name)


def unknown(
    name: str, known: Collection[str], *, what: str, within: Sequence[str] = ()
) -> BadInput:
    """Return the error for a name that is not known, with the nearest known one."""
    shown = _shown(name)
    nearest = find_nearest(shown, known)
    if nearest is not None:
        hint = f": did you mean {nearest}?"
    else:
        hint = f". Known: {', '.join(known)}" if known else ""
    path = ".".join((*within, shown))
    details = {"field": path} if nearest is None else {"field": path, "did_you_mean": nearest}
    code = "VALIDATION_UNKNOWN_FIELD"
    if what != "field":
        code = "VALIDATION_UNKNOWN_PARAMETER"
    return BadInput(f"Unknown {what} {path}{hint}", code=code, details=details)


def explain(errors: Sequence[Any]) -> BadInput:
    """Convert pydantic's errors into one that names the first wrong field."""
    # An unknown name explains the others: a field that is missing is often one that is misspelled.
    first = next((one for one in errors if _is_unknown_name(one)), errors[0])
    kind, context = first["type"], first.get("ctx", {})
    # "[key]" is pydantic's mark for a name, here of a header, that breaks a rule.
    path = [_shown(str(part)) for part in first["loc"][1:] if part != "[key]"]
    field = ".".join(path) or "body"
    if kind == "missing":
        return FieldRequired(field)
    own = context.get("error")
    if isinstance(own, UnknownName):
        return unknown(own.name, own.known, what="field", within=path)
    code = "VALIDATION_INVALID_VALUE"
    if kind in _EXPECTED and first.get("input", "") is None:
        reason, code = "must not be null", "VALIDATION_INVALID_TYPE"
    elif kind in _EXPECTED:
        reason, code = f"must be {_EXPECTED[kind]}", "VALIDATION_INVALID_TYPE"
    elif kind in {"literal_error", "enum"}:
        reason = f"must be one of {context.get('expected', '').replace(' or ', ', ')}"
    elif isinstance(own, WrongValue):
        reason = str(own)
    elif "ge" in context:
        reason = f"must be at least {context['ge']}"
    elif "le" in context:
        reason = f"must be at most {context['le']}"
    elif "max_length" in context:
        most = context["max_length"]
        entries = kind == "too_long"
        reason = (
            f"must have at most {most} entries"
            if entries
            else f"must have at most {most} characters"
        )
    else:
        reason = "is not valid"
    return BadInput(f"{field} {reason}", code=code, details={"field": field})


@overload
def moment(text: str, *, field: str) -> Micros: ...
@overload
def moment(text: str | None, *, field: str) -> Micros | None: ...
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


def _is_unknown_name(error: Any) -> bool:
    return isinstance(error.get("ctx", {}).get("error"), UnknownName)


def _shown(name: str) -> str:
    # A name within an object is the caller's text: repeat only its first, printable characters.
    return ascii(name)[1:-1][:_LONGEST_SHOWN]


class _DuplicateKeyError(ValueError):
    """An object has the same key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value_by_name: dict[str, Any] = {}
    for name, value in pairs:
        if name in value_by_name:
            raise _DuplicateKeyError(_shown(name))
        value_by_name[name] = value
    return value_by_name


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _number(read: Callable[[str], float]) -> Callable[[str], float]:
    def bounded(text: str) -> float:
        if len(text) > LONGEST_NUMBER:
            raise BadInput(
                f"A number must have at most {LONGEST_NUMBER} characters",
                code="VALIDATION_MALFORMED_JSON",
            )
        return read(text)

    return bounded


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max((_depth(entry) for entry in value), default=0)
    return 0
