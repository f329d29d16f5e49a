"""Checks of a bootstrap file that its schema cannot make. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gatehouse.bootstrap.model import Located, Seed, SeedIdentity, SeedInvite, SeedName, SeedWebhook
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import KNOWN_SCOPES, MEMORY_OPERATIONS, SIGNAL_TYPES, Grants, Permissions
from gatehouse.identities.model import ClawType, IdentityType
from gatehouse.webhooks.model import FILTER_TYPES

MOST_ENTRIES = 200
MOST_WORDS = 50
_LONGEST_WORD = 64
_LONGEST = 200
_MOST_USES = 1_000
_SECTIONS = ("identities", "roles", "rings", "invites", "webhooks")
_LISTS = ("signal_types", "task_types", "ring_scopes", "memory_scopes")
_CLOSED = {"signal_types": SIGNAL_TYPES, "memory_scopes": MEMORY_OPERATIONS}
_GRANTS = {"scopes", "permissions"}
_WEBHOOK = {
    "url": str,
    "filters": dict,
    "description": str,
    "retry_schedule": list,
    "active": bool,
}
_SAID = {
    str: "a text",
    dict: "a mapping",
    list: "a list",
    bool: "true or false",
    float: "a number",
    int: "a whole number",
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


def check_unique_names(root: Located) -> None:
    """Check that no section has two entries of one name. `root` must match the schema.


def _webhook(fields: Mapping[str, Located], where: str, entry: Located) -> SeedWebhook:
    said = {
        name: located
        for name, located in fields.items()
        if name in _WEBHOOK and located.value is not None
    }
    if "url" not in said:
        raise _refused(entry, f"{where}.url", "is required")
    for name, located in said.items():
        _typed(located, f"{where}.{name}", _WEBHOOK[name])
    if "filters" in said:
        inside = f"{where}.filters"
        for name, located in _mapping(said["filters"], inside, set(FILTER_TYPES)).items():
            _typed(located, f"{inside}.{name}", FILTER_TYPES[name])
    return SeedWebhook(
        name=_name(fields, where, entry),
        where=where,
        line=entry.line,
        fields={name: _bare(located) for name, located in said.items()},
        lines={name: located.line for name, located in _within(fields)},
        secret_env=_variable(fields, where),
    )


def _typed(located: Located, where: str, kind: type) -> None:
    """Refuse a value of another kind. A flag is no number, a whole number is one."""
    found = type(located.value)
    if found is not kind and not (found is int and kind is float):
        raise _refused(located, where, f"must be {_SAID[kind]}")
    if kind is list:
        entries = int if where.endswith("retry_schedule") else str
        for number, one in enumerate(located.value):
            _typed(one, f"{where}[{number}]", entries)


def _bare(located: Located) -> Any:
    value = located.value
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _within(fields: Mapping[str, Located], start: str = "") -> Iterator[tuple[str, Located]]:
    for name, located in fields.items():
        yield start + name, located
        if isinstance(located.value, dict):
            yield from _within(located.value, f"{start}{name}.")


def _variable(fields: Mapping[str, Located], where: str) -> str | None:
    found = fields.get("secret_env")
    if found is None:
        return None
    if not isinstance(found.value, str) or not _VARIABLE.fullmatch(found.value):
        raise _refused(found, f"{where}.secret_env", "must name an environment variable")
    return found.value


def _entries(
    sections: Mapping[str, Located], section: str, known: set[str]
) -> Iterator[tuple[str, Located, dict[str, Located]]]:
    """Walk a section's entries, and refuse two of one name."""
    found = sections.get(section)
    if found is None or found.value is None:
        return
    if not isinstance(found.value, list):
        raise _refused(found, section, "must be a list")
    if len(found.value) > MOST_ENTRIES:
        raise _refused(found, section, f"must have at most {MOST_ENTRIES} entries")
    seen: set[str] = set()
    for number, entry in enumerate(found.value):
        where = f"{section}[{number}]"
        fields = _mapping(entry, where, known)
        name = _name(fields, where, entry)
        if name in seen:
            raise _refused(entry, f"{where}.name", f"{name!r} stands twice")
        seen.add(name)
        yield where, entry, fields


def _mapping(located: Located, where: str, known: set[str]) -> dict[str, Located]:
    if not isinstance(located.value, dict):
        raise _refused(located, where, "must be a mapping")
    fields: dict[str, Located] = located.value
    for name, value in fields.items():
        if name not in known:
            said = ", ".join(sorted(known))
            raise _refused(value, f"{where}.{name}", f"is not known; known are {said}")
    return fields


def _name(fields: Mapping[str, Located], where: str, entry: Located) -> str:
    found = fields.get("name")
    if found is None:
        raise _refused(entry, f"{where}.name", "is required")
    return _plain(found, f"{where}.name")


def _text(fields: Mapping[str, Located], name: str, where: str) -> str:
    found = fields.get(name)
    return "" if found is None or found.value is None else _plain(found, f"{where}.{name}")


def _plain(located: Located, where: str) -> str:
    text = located.value
    if not isinstance(text, str) or not text.strip():
        raise _refused(located, where, "must be a text")
    if len(text) > _LONGEST or not text.isprintable():
        raise _refused(located, where, f"must be at most {_LONGEST} printable characters")
    return text.strip()


def _flag(fields: Mapping[str, Located], name: str, where: str) -> bool:
    found = fields.get(name)
    if found is None:
        return False
    if not isinstance(found.value, bool):
        raise _refused(found, f"{where}.{name}", "must be true or false")
    return found.value


def _choice(
    fields: Mapping[str, Located], name: str, where: str, allowed: list[Any], default: str
) -> str:
    found = fields.get(name)
    if found is None:
        return default
    if found.value not in {str(one) for one in allowed}:
        said = ", ".join(map(str, allowed))
        raise _refused(found, f"{where}.{name}", f"must be one of {said}")
    return str(found.value)


def _uses(fields: Mapping[str, Located], where: str) -> int:
    found = fields.get("max_uses")
    if found is None:
        return 1
    if type(found.value) is not int or not 1 <= found.value <= _MOST_USES:
        raise _refused(found, f"{where}.max_uses", f"must be from 1 to {_MOST_USES}")
    return found.value


def _grants(fields: Mapping[str, Located], where: str) -> Grants:
    scopes: tuple[str, ...] = ("*",)
    if "scopes" in fields:
        scopes = _words(fields["scopes"], f"{where}.scopes", KNOWN_SCOPES)
    if "permissions" not in fields:
        return Grants(scopes)
    inside = f"{where}.permissions"
    named = _mapping(fields["permissions"], inside, set(_LISTS))
    lists = {
        name: _words(value, f"{inside}.{name}", _CLOSED.get(name)) for name, value in named.items()
    }
    return Grants(scopes, Permissions.from_dict(lists))


def _words(located: Located, where: str, allowed: tuple[str, ...] | None) -> tuple[str, ...]:
    if not isinstance(located.value, list):
        raise _refused(located, where, "must be a list")
    if len(located.value) > MOST_WORDS:
        raise _refused(located, where, f"must have at most {MOST_WORDS} entries")
    words = []
    for number, entry in enumerate(located.value):
        word = _plain(entry, f"{where}[{number}]")
        if len(word) > _LONGEST_WORD:
            raise _refused(entry, f"{where}[{number}]", f"is over {_LONGEST_WORD} characters")
        if allowed is not None and word not in allowed:
            raise _refused(entry, f"{where}[{number}]", f"must be one of {', '.join(allowed)}")
        words.append(word)
    return tuple(dict.fromkeys(words))


def _refused(located: Located, where: str, what: str) -> BadInput:
    return BadInput(
        f"line {located.line}: {where} {what}", details={"line": located.line, "field": where}
    )
