"""Store the provider keys of an account. The API writes them; only IAM callers can read them."""

from __future__ import annotations

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, NotFound, Unavailable
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Table
from gatehouse.providers import rules, store
from gatehouse.providers.model import MOST_KEYS, ProviderKey
from gatehouse.secrets import actions as vaults
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place


def find(table: Table, place: Place) -> ProviderKey | None:
    """Return the record of a key, without its value; None where there is none."""
    return store.read(table, place)


def put(
    table: Table, call: Call, vault: Vault, *, place: Place, text: str | None, field: str
) -> None:
    """Store a key, and replace the one that is there.

    Raises FieldRequired or BadInput where `text` is not a valid key; they name `field`. Raises
    BoundReached, or Unavailable after too many conflicts.
    """
    text = rules.check_key(text, field=field)
    key = ProviderKey(place, call.now)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        seen = store.read(table, place)
        if seen is None:
            writes = store.create(table, key)
            writes["secret"] = secret_writes.put_new(table, vault, place, text)
        else:
            writes = store.renew(table, key, seen=seen)
            writes["secret"] = secret_writes.replace(table, vault, place, text)
        change = Change(
            "secret.set",
            rules.target(place),
            before=None if seen is None else rules.audit_view(seen),
            after=rules.audit_view(key),
        )
        try:
            audit.commit(
                table,
                place.account_id,
                writes=writes,
                changes=[change],
                origin=Origin.of(call),
                now=call.now,
            )
        except audit.Refused as refused:
            conflict = refused
            if set(refused.failed) == {"count"}:
                raise BoundReached(f"An account has at most {MOST_KEYS} provider keys") from refused
        else:
            return
    raise Unavailable from conflict


def remove(table: Table, call: Call, place: Place) -> None:
    """Delete a key. Where there is none, nothing is written or recorded.

    Raises Unavailable after too many conflicts.
    """
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        seen = store.read(table, place)
        if seen is None:
            return
        writes = store.remove(table, seen)
        writes["secret"] = secret_writes.remove(table, place)
        change = Change("secret.delete", rules.target(place), before=rules.audit_view(seen))
        try:
            audit.commit(
                table,
                place.account_id,
                writes=writes,
                changes=[change],
                origin=Origin.of(call),
                now=call.now,
            )
        except audit.Refused as refused:
            conflict = refused
            continue
        return
    raise Unavailable from conflict


def reveal(table: Table, vault: Vault, place: Place, *, origin: Origin, now: Micros) -> str:
    """Return a key in plain, after the audit event of the read was written.

    Raises NotFound, or Unavailable after too many conflicts.
    """
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        seen = store.read(table, place)
        if seen is None:
            raise NotFound("The account has no such secret", code="SECRET_NOT_FOUND")
        text = vaults.read(table, vault, place)
        try:
            audit.commit(
                table,
                place.account_id,
                writes={"key": store.check_unchanged(table, seen)},
                changes=[Change("secret.read", rules.target(place))],
                origin=origin,
                now=now,
            )
        except audit.Refused as refused:
            conflict = refused
            continue
        if text is not None:
            return text
    raise Unavailable from conflict
