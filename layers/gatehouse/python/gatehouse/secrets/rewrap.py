"""Wrap the data keys of all accounts' secrets again, after the settings key was changed.

No secret is decrypted: its data key is unwrapped by the old key and wrapped by the new one, in one
conditional write with the audit event. The work is done in steps. A pass that was interrupted is
started again and finds what is left.
"""

from __future__ import annotations

import base64
import json
from enum import Enum, auto
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput, SettingsKeyUnusable
from gatehouse.core.observe import logger
from gatehouse.dynamo.table import Item, Table
from gatehouse.secrets import rules, store
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import KMS, STACK, RewrapStep, WrappedKey

# A step reads up to 2,000 secrets and rewraps about 100, so it takes seconds, not minutes.
_PAGE, _PAGES, _MOST = 100, 20, 100


class _Outcome(Enum):
    REWRAPPED = auto()
    LEFT = auto()  # no key could unwrap it
    CHANGED = auto()  # it was replaced or removed since it was read


def run_step(
    table: Table,
    vault: Vault,
    *,
    cursor: str | None,
    operator_id: str | None,
    origin: Origin,
    now: Micros,
) -> RewrapStep:
    """Run one step of a pass; without a cursor, the first.

    `operator_id` is the account whose audit trail records rewraps of the stack's own secrets.
    Raises SettingsKeyUnusable where a key is malformed, BadInput for a bad cursor, and
    Unavailable. What was rewrapped before the error stays rewrapped.
    """
    key = None if vault.keyring is None else vault.keyring.current_key()
    wrapped_by = KMS if key is None else key.id
    after, clean = _read_cursor(cursor, wrapped_by)
    outcomes: list[_Outcome] = []
    for _ in range(_PAGES):
        found, after = store.list_wrapped(table, not_by=wrapped_by, after=after, limit=_PAGE)
        outcomes += [
            _rewrap(table, vault, one, operator_id=operator_id, origin=origin, now=now)
            for one in found
        ]
        handled = [one for one in outcomes if one is not _Outcome.CHANGED]
        if after is None or len(handled) >= _MOST:
            break
    clean = clean and not outcomes
    rewrapped, left = outcomes.count(_Outcome.REWRAPPED), outcomes.count(_Outcome.LEFT)
    if after is not None:
        return RewrapStep(rewrapped, left, _cursor(after, wrapped_by, clean=clean), done=False)
    return RewrapStep(rewrapped, left, None, done=clean and _finish(table, wrapped_by))


def _rewrap(
    table: Table,
    vault: Vault,
    seen: WrappedKey,
    *,
    operator_id: str | None,
    origin: Origin,
    now: Micros,
) -> _Outcome:
    place = seen.place
    if place is None:
        return _leave(seen, "UnknownPurpose")
    try:
        data_key = vault.unwrap(place, seen.wrapped_key, wrapped_by=seen.wrapped_by)
    except (SettingsKeyUnusable, rules.WrongPlace) as error:
        return _leave(seen, type(error).__name__)
    wrapped_key, wrapped_by = vault.wrap(place, data_key)
    write = store.rewrap(table, seen, place=place, wrapped_key=wrapped_key, wrapped_by=wrapped_by)
    change = Change(
        "secret.rewrap",
        f"secret:{place.purpose.value}/{place.name}",
        before={"wrapped_by": seen.wrapped_by},
        after={"wrapped_by": wrapped_by},
    )
    try:
        audit.commit(
            table,
            (operator_id or STACK) if place.account_id == STACK else place.account_id,
            writes={"secret": write},
            changes=[change],
            origin=origin,
            now=now,
        )
    except audit.Refused:
        return _Outcome.CHANGED
    return _Outcome.REWRAPPED


def _leave(seen: WrappedKey, reason: str) -> _Outcome:
    logger.error(
        "secret not rewrapped", secret=seen.path, wrapped_by=seen.wrapped_by, reason=reason
    )
    return _Outcome.LEFT


def _finish(table: Table, wrapped_by: str) -> bool:
    """Store that no other key wraps anything any more; False where that changed meanwhile."""
    stored = store.read_wrapping_state(table).wrapped_by
    return stored == wrapped_by or store.set_wrapped_by(table, wrapped_by, seen=stored)


def _cursor(after: Item, wrapped_by: str, *, clean: bool) -> str:
    shown = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in after.items()
    }
    text = json.dumps({"after": shown, "by": wrapped_by, "clean": clean})
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str | None, wrapped_by: str) -> tuple[Item | None, bool]:
    """Return where to continue, and whether the pass found nothing to rewrap so far.

    A pass that was started under another key starts again.
    """
    if cursor is None:
        return None, True
    try:
        content: Any = json.loads(base64.urlsafe_b64decode(cursor))
        after = dict(content["after"])
        after["wrapped_key"] = base64.b64decode(after["wrapped_key"])
        same, clean = content["by"] == wrapped_by, content["clean"] is True
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput("cursor must be one that this function returned") from error
    return (after, clean) if same else (None, True)
