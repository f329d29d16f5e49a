"""Wrap the data keys of all accounts' secrets anew, after what is set to wrap them has changed.

No secret is decrypted for it: its data key comes out of one wrapping and goes into another, in
one conditional write with the audit event. Step by step; a pass that died is begun again, and
finds what is left.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput, SettingsKeyUnusable
from gatehouse.core.observe import logger
from gatehouse.dynamo.table import Item, Table
from gatehouse.secrets import rules, store
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import KMS, STACK, Step, Wrapped

# A step looks at up to 2,000 secrets and re-wraps up to about 100: seconds, not minutes.
_PAGE, _PAGES, _MOST = 100, 20, 100


def step(
    table: Table, vault: Vault, *, cursor: str | None, home: str | None, origin: Origin, now: Micros
) -> Step:
    """Do one step of a pass; without a cursor, the first.

    The stack's own secrets are on the record of the account `home`. Raises SettingsKeyUnusable
    where a key is malformed, and Unavailable; what was done until then stays done.
    """
    key = None if vault.keyring is None else vault.keyring.wrapping()
    by = KMS if key is None else key.id
    after, clean = _read_cursor(cursor, by)
    rewrapped = left = 0
    for _ in range(_PAGES):
        found, after = store.wrapped(table, besides=by, after=after, limit=_PAGE)
        for one in found:
            clean = False
            outcome = _rewrap(table, vault, one, home=home, origin=origin, now=now)
            rewrapped += outcome is True
            left += outcome is False
        if after is None or rewrapped + left >= _MOST:
            break
    if after is not None:
        return Step(rewrapped, left, _cursor(after, by, clean=clean), done=False)
    return Step(rewrapped, left, None, done=clean and _settle(table, by))


def _rewrap(
    table: Table, vault: Vault, one: Wrapped, *, home: str | None, origin: Origin, now: Micros
) -> bool | None:
    """Re-wrap one secret; False where no key opens it, None where it changed meanwhile."""
    place = one.place
    if place is None:
        return _left(one, "UnknownPurpose")
    try:
        data_key = vault.unwrap(place, one.wrapped_key, wrapped_by=one.wrapped_by)
    except (SettingsKeyUnusable, rules.WrongPlace) as error:
        return _left(one, type(error).__name__)
    wrapped_key, by = vault.wrap(place, data_key)
    change = Change(
        "secret.rewrap",
        f"secret:{place.purpose.value}/{place.name}",
        before={"wrapped_by": one.wrapped_by},
        after={"wrapped_by": by},
    )
    try:
        audit.commit(
            table,
            (home or STACK) if place.account_id == STACK else place.account_id,
            writes={
                "secret": store.rewrap(table, one, place=place, wrapped_key=wrapped_key, by=by)
            },
            changes=[change],
            origin=origin,
            now=now,
        )
    except audit.Refused:
        return None
    return True


def _left(one: Wrapped, reason: str) -> bool:
    logger.error("secret left", secret=one.path, wrapped_by=one.wrapped_by, reason=reason)
    return False


def _settle(table: Table, by: str) -> bool:
    """Remember that nothing is wrapped by another key any more."""
    remembered = store.wrapping(table).by
    return remembered == by or store.remember(table, by, seen=remembered)


def _cursor(after: Item, by: str, *, clean: bool) -> str:
    shown = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in after.items()
    }
    text = json.dumps({"after": shown, "by": by, "clean": clean})
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str | None, by: str) -> tuple[Item | None, bool]:
    """Read where to go on, and whether the pass found nothing so far.

    A pass that was begun under another key begins again.
    """
    if cursor is None:
        return None, True
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(cursor))
        after = dict(found["after"])
        after["wrapped_key"] = base64.b64decode(after["wrapped_key"])
        same, clean = found["by"] == by, found["clean"] is True
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput("cursor is none of this function's") from error
    return (after, clean) if same else (None, True)
