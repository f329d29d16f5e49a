"""`SECRET#<account>` by purpose and name: ciphertext, wrapped key, and what wrapped it.

`SECRET#stack` / `WRAPPING` is what the instance remembers of its settings keys.
"""

from __future__ import annotations

from gatehouse.dynamo import keyspace
from gatehouse.dynamo.scan import scan_index
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.secrets.model import KMS, STACK, Place, Purpose, Sealed, Wrapped, Wrapping

# In capitals, so no purpose.
_WRAPPING = {"pk": keyspace.SECRET.pk(STACK), "sk": "WRAPPING"}


def read(table: Table, place: Place) -> Sealed | None:
    """Read a sealed secret; None where there is none."""
    item = table.get(_key(place))
    if item is None:
        return None
    return Sealed(
        item["ciphertext"], item["nonce"], item["wrapped_key"], item.get("wrapped_by", KMS)
    )


def put_new(table: Table, place: Place, sealed: Sealed) -> Write:
    """Write a secret where none stands."""
    return table.put_new({**_key(place), **_fields(sealed)})


def replace(table: Table, place: Place, sealed: Sealed) -> Write:
    """Write a secret where one stands."""
    return table.put(
        {**_key(place), **_fields(sealed)},
        condition="attribute_exists(pk)",
        names={},
        values={},
    )


def delete(table: Table, place: Place) -> Write:
    """Remove a secret, if it is there."""
    return table.delete(_key(place))


def wrapped(
    table: Table, *, besides: str, after: Item | None, limit: int
) -> tuple[list[Wrapped], Item | None]:
    """Look at `limit` secrets of all accounts: those that something else than `besides` wrapped.

    The second value is where to go on, None at the end. May lag behind by moments.
    """
    # What KMS wrapped says nothing of it, so it is left out here, not there.
    items, after = scan_index(
        table,
        "by_wrapped_key",
        besides=("wrapped_by", besides),
        after=after,
        limit=limit,
    )
    found = [_wrapped(item) for item in items]
    return [one for one in found if one.wrapped_by != besides], after


def rewrap(table: Table, seen: Wrapped, *, place: Place, wrapped_key: bytes, by: str) -> Write:
    """Put another wrapped key in place of the one that was seen."""
    expression = "SET wrapped_key = :new"
    values: Item = {":new": wrapped_key, ":seen": seen.wrapped_key}
    if by == KMS:
        expression += " REMOVE wrapped_by"
    else:
        expression += ", wrapped_by = :by"
        values[":by"] = by
    return table.change(
        _key(place), expression, condition="wrapped_key = :seen", names={}, values=values
    )


def wrapping(table: Table) -> Wrapping:
    """Read what the instance remembers of its settings keys."""
    item = table.get(_WRAPPING)
    return Wrapping() if item is None else _remembered(item)


def salted(table: Table, salt: bytes) -> Wrapping:
    """Keep a salt, unless there is one, which then stays."""
    try:
        item = table.update(
            _WRAPPING,
            "SET salt = :salt",
            condition="attribute_not_exists(salt)",
            names={},
            values={":salt": salt},
        )
    except ConditionFailed as failed:
        item = failed.item or {}
    return _remembered(item)


def remember(table: Table, by: str, *, seen: str) -> bool:
    """Note what wraps from now on; False where that has changed since it was seen."""
    condition = "wrapped_by = :seen"
    if seen == KMS:
        condition += " OR attribute_not_exists(wrapped_by)"
    try:
        table.update(
            _WRAPPING,
            "SET wrapped_by = :by",
            condition=condition,
            names={},
            values={":by": by, ":seen": seen},
        )
    except ConditionFailed:
        return False
    return True


def _wrapped(item: Item) -> Wrapped:
    account_id = keyspace.SECRET.rest_of(item["pk"])
    purpose, _, name = item["sk"].partition("#")
    place = Place(Purpose(purpose), account_id, name) if purpose in list(Purpose) else None
    return Wrapped(
        place, f"{account_id}/{purpose}/{name}", item["wrapped_key"], item.get("wrapped_by", KMS)
    )


def _remembered(item: Item) -> Wrapping:
    return Wrapping(item.get("wrapped_by", KMS), item.get("salt"))


def _fields(sealed: Sealed) -> Item:
    fields: Item = {
        "ciphertext": sealed.ciphertext,
        "nonce": sealed.nonce,
        "wrapped_key": sealed.wrapped_key,
    }
    if sealed.wrapped_by != KMS:
        fields["wrapped_by"] = sealed.wrapped_by
    return fields


def _key(place: Place) -> dict[str, str]:
    return {
        "pk": keyspace.SECRET.pk(place.account_id),
        "sk": f"{place.purpose.value}#{place.name}",
    }
