"""`SECRET#<account>` by purpose and name: ciphertext, wrapped data key, and what wrapped it.

`SECRET#stack` / `WRAPPING` is the WrappingState of the instance.
"""

from __future__ import annotations

from gatehouse.dynamo import keyspace
from gatehouse.dynamo.scan import scan_index
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.secrets.model import KMS, STACK, Place, Purpose, Sealed, WrappedKey, WrappingState

# In capitals, so it cannot be the key of a secret: purposes are in lower case.
_WRAPPING = {"pk": keyspace.SECRET.pk(STACK), "sk": "WRAPPING"}


def read(table: Table, place: Place) -> Sealed | None:
    """Read an encrypted secret; None where there is none."""
    item = table.get(_key(place))
    if item is None:
        return None
    return Sealed(
        item["ciphertext"], item["nonce"], item["wrapped_key"], item.get("wrapped_by", KMS)
    )


def put_new(table: Table, place: Place, sealed: Sealed) -> Write:
    """Write a secret where there is none."""
    return table.put_new(_item(place, sealed))


def put(table: Table, place: Place, sealed: Sealed) -> Write:
    """Write a secret, whether there is one or not."""
    return table.overwrite(_item(place, sealed))


def replace(table: Table, place: Place, sealed: Sealed) -> Write:
    """Write a secret where there is one."""
    return table.put(
        _item(place, sealed),
        condition="attribute_exists(pk)",
        names={},
        values={},
    )


def delete(table: Table, place: Place) -> Write:
    """Remove a secret, if it is there."""
    return table.delete(_key(place))


def list_wrapped(
    table: Table, *, not_by: str, after: Item | None, limit: int
) -> tuple[list[WrappedKey], Item | None]:
    """Scan `limit` secrets of all accounts. Returns those that `not_by` did not wrap.

    The second value is where to continue, None at the end. Eventually consistent.
    """
    items, after = scan_index(
        table,
        "by_wrapped_key",
        besides=("wrapped_by", not_by),
        after=after,
        limit=limit,
    )
    # An item without `wrapped_by` was wrapped by KMS. DynamoDB's filter cannot know that, so
    # these are filtered here.
    found = [_to_wrapped_key(item) for item in items]
    return [one for one in found if one.wrapped_by != not_by], after


def rewrap(
    table: Table, seen: WrappedKey, *, place: Place, wrapped_key: bytes, wrapped_by: str
) -> Write:
    """Replace the wrapped data key, if it is still the one that was seen."""
    expression = "SET wrapped_key = :new"
    values: Item = {":new": wrapped_key, ":seen": seen.wrapped_key}
    if wrapped_by == KMS:
        expression += " REMOVE wrapped_by"
    else:
        expression += ", wrapped_by = :by"
        values[":by"] = wrapped_by
    return table.change(
        _key(place), expression, condition="wrapped_key = :seen", names={}, values=values
    )


def read_wrapping_state(table: Table) -> WrappingState:
    """Read what the instance stores about its settings keys."""
    item = table.get(_WRAPPING)
    return WrappingState() if item is None else _to_state(item)


def add_salt(table: Table, salt: bytes) -> WrappingState:
    """Store a salt, unless there is one. Returns the state, with the salt that counts."""
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
    return _to_state(item)


def set_wrapped_by(table: Table, wrapped_by: str, *, seen: str) -> bool:
    """Store which key wraps from now on; False where it is not `seen` any more."""
    condition = "wrapped_by = :seen"
    if seen == KMS:
        condition += " OR attribute_not_exists(wrapped_by)"
    try:
        table.update(
            _WRAPPING,
            "SET wrapped_by = :by",
            condition=condition,
            names={},
            values={":by": wrapped_by, ":seen": seen},
        )
    except ConditionFailed:
        return False
    return True


def _to_wrapped_key(item: Item) -> WrappedKey:
    account_id = keyspace.SECRET.rest_of(item["pk"])
    purpose, _, name = item["sk"].partition("#")
    known = purpose in list(Purpose)
    place = Place(Purpose(purpose), account_id, name, item.get("origin")) if known else None
    return WrappedKey(
        place, f"{account_id}/{purpose}/{name}", item["wrapped_key"], item.get("wrapped_by", KMS)
    )


def _to_state(item: Item) -> WrappingState:
    return WrappingState(item.get("wrapped_by", KMS), item.get("salt"))


def _item(place: Place, sealed: Sealed) -> Item:
    item: Item = {
        **_key(place),
        "ciphertext": sealed.ciphertext,
        "nonce": sealed.nonce,
        "wrapped_key": sealed.wrapped_key,
    }
    if sealed.wrapped_by != KMS:
        item["wrapped_by"] = sealed.wrapped_by
    if place.origin is not None:
        item["origin"] = place.origin  # for a rewrap; what is sent is unsealed for its own URL
    return item


def _key(place: Place) -> dict[str, str]:
    return {
        "pk": keyspace.SECRET.pk(place.account_id),
        "sk": f"{place.purpose.value}#{place.name}",
    }
