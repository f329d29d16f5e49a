"""Read an audit trail strictly, from a stack or from the lines of an export.

JSON can be read in more than one way: of a name that stands twice, most readers take the last
value, and people see the first. Such a line would pass for two different events, so it is invalid.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from gatehouse.audit.model import Event, Head
from gatehouse_cli.errors import CommandError
from gatehouse_cli.target import Target

_PAGE = 100
# The table cannot store a deeper document.
DEEPEST = 32
MAIN = "administration"
_HEAD_FIELDS = {MAIN: "head", "machine": "machine_head"}
_LONGEST_NUMBER = 64
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXT, _TEXT_OR_NULL, _OBJECT_OR_NULL = (str,), (str, type(None)), (dict, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "id": _TEXT,
    "seq": (int,),
    "action": _TEXT,
    "actor": _TEXT,
    "via": _TEXT_OR_NULL,
    "target": _TEXT,
    "source_address": _TEXT_OR_NULL,
    "request_id": _TEXT,
    "created_at": _TEXT,
    "before": _OBJECT_OR_NULL,
    "after": _OBJECT_OR_NULL,
    "prev_hash": _TEXT,
    "hash": _TEXT,
    "recorded_at": _TEXT,
    "chain": _TEXT,
}
_OPTIONAL = {"recorded_at", "chain"}


class InvalidEventError(ValueError):
    """A text is not exactly one audit event; the message says why."""


@dataclass(frozen=True)
class Trail:
    """All events, oldest first, and the head that the stack has for each chain.

    An account has several chains, each numbered from 1. An event names its own in `chain`; one
    without that field belongs to `MAIN`.
    """

    heads: dict[str, Head]
    events: list[Event]


def read_event(line: bytes) -> Event:
    """Read one line of an export.

    Raises:
        InvalidEventError: It is no JSON, can be read in two ways, or is not an audit event.

    """
    try:
        event: Event = _parse(line.decode())
    except UnicodeDecodeError as error:
        raise InvalidEventError("the line is not UTF-8") from error
    check_event(event)
    return event


def check_event(event: Any) -> None:
    """Check fields, types and depth. Raises InvalidEventError."""
    if not isinstance(event, dict):
        raise InvalidEventError("the line is not a JSON object")
    missing = _TYPES.keys() - _OPTIONAL - event.keys()
    if missing:
        raise InvalidEventError(f"the field {min(missing)} is missing")
    for name in _TYPES.keys() & event.keys():
        # A JSON true is no number, although Python counts it as 1.
        if not isinstance(event[name], _TYPES[name]) or isinstance(event[name], bool):
            raise InvalidEventError(f"the field {name} has the wrong type")
    if event["seq"] < 1:
        raise InvalidEventError("the field seq must be 1 or more")
    for name in ("prev_hash", "hash"):
        if not _HASH.fullmatch(event[name]):
            raise InvalidEventError(f"the field {name} must be 64 hex digits")
    _check_depth(event)


def chain_of(event: Event) -> str:
    """Return the chain of an event."""
    chain: str = event.get("chain", MAIN)
    return chain


def fetch(target: Target) -> Trail:
    """Read the whole trail over HTTP.

    The heads are read first: events written during the export come after them.

    Raises:
        CommandError: The stack cannot be reached, refused the key, or answered something else.

    """
    heads: dict[str, Head] = {}
    events: list[Event] = []
    for page in _pages(target):
        try:
            heads = heads or _heads(page)
            for event in page["events"]:
                check_event(event)
                events.append(event)
        except (LookupError, TypeError, InvalidEventError) as error:
            raise _unexpected(target) from error
    return Trail(heads, events[::-1])


def _heads(page: dict[str, Any]) -> dict[str, Head]:
    return {
        chain: Head(page[field]["seq"], page[field]["hash"])
        for chain, field in _HEAD_FIELDS.items()
        if chain == MAIN or field in page
    }


def _pages(target: Target) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {target.key}"}
    query: dict[str, Any] = {"limit": _PAGE}
    try:
        with httpx.Client(base_url=target.url, headers=headers, timeout=30) as client:
            while True:
                answer = client.get("/admin/audit", params=query)
                if answer.status_code != httpx.codes.OK:
                    raise CommandError(
                        f"{target.url}/admin/audit answered {answer.status_code}:"
                        f" {_why(answer.text)}"
                    )
                page = _parse(answer.text)["data"]
                yield page
                if not page["has_more"]:
                    return
                if page["cursor"] in {None, query.get("after")}:
                    raise _unexpected(target)
                query["after"] = page["cursor"]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"Cannot reach {target.url}: {error}. Check the URL.") from error
    except (LookupError, TypeError, InvalidEventError) as error:
        raise _unexpected(target) from error


def _why(body: str) -> str:
    """Return the message of an error's body, or the beginning of a body that has none."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body[:300]


def _unexpected(target: Target) -> CommandError:
    return CommandError(
        f"{target.url}/admin/audit did not answer with an audit trail: check that the URL is that"
        " of a Gatehouse stack."
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_not_json,
        )
    except InvalidEventError:
        raise
    except ValueError as error:
        raise InvalidEventError("the line is not JSON") from error
    except RecursionError as error:
        raise InvalidEventError(f"the event is nested deeper than {DEEPEST} levels") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidEventError(f"the name {name[:64]!r} occurs twice in one object")
        found[name] = value
    return found


def _whole_number(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise InvalidEventError(f"a number has more than {_LONGEST_NUMBER} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if len(text) > _LONGEST_NUMBER or math.isinf(number):
        raise InvalidEventError(f"the number {text[:32]} is out of range")
    return number


def _not_json(text: str) -> NoReturn:
    raise InvalidEventError(f"{text} is not a JSON number")


def _check_depth(event: Event) -> None:
    level: list[Any] = [event]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in _contents(outer)]
    if level:
        raise InvalidEventError(f"the event is nested deeper than {DEEPEST} levels")


def _contents(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
