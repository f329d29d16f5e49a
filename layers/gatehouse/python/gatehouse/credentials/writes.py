"""Generate a key, and the writes of its looked-up item for other rooms' transactions."""

from __future__ import annotations

import secrets
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.credentials import rules, store
from gatehouse.credentials.model import Credential, KeyText, Owner
from gatehouse.dynamo.table import Table, Write

_NO_PREDECESSOR = " REMOVE prev_until"


def mint(prefix: str) -> KeyText:
    """Generate a key from the operating system's randomness. Writes nothing."""
    text = rules.format_key(prefix, secrets.token_bytes(rules.SECRET_BYTES))
    return KeyText(text, rules.hash_key(text), rules.shown_prefix(text))


def create(table: Table, credential: Credential) -> Write:
    """Write a new credential, if there is none with this digest."""
    return table.put_new(store.to_item(credential))


def revoke(table: Table, digest: str, at: Micros, *, with_predecessor: bool = False) -> Write:
    """Refuse the key from now on; `at` is the time that is shown.

    Attribute `over` is set too: an authorizer whose clock is slow would otherwise still accept
    the key. A predecessor in its grace lives on, but with `with_predecessor` it ends in the same
    transaction.
    """
    return table.change(
        store.item_key(digest),
        "SET rev = :at, #over = :true" + (_NO_PREDECESSOR if with_predecessor else ""),
        condition="attribute_exists(#pk)",
        names={"#pk": "pk", "#over": "over"},
        values={":at": at, ":true": True},
    )


def hand_over(table: Table, digest: str, *, successor: str, at: Micros) -> Write:
    """Begin the grace of a rotated key: until `at` it counts in the limit of its successor.

    Its own predecessor ends in the same transaction.
    """
    return table.change(
        store.item_key(digest),
        "SET rev = :at, #next = :next" + _NO_PREDECESSOR,
        condition="attribute_exists(#pk)",
        names={"#pk": "pk", "#next": "next"},
        values={":at": at, ":next": successor},
    )


def forget_predecessor(table: Table, successor: str) -> Write:
    """Make authorizers read the old key's own item again: it changes in this transaction."""
    return table.change(
        store.item_key(successor),
        _NO_PREDECESSOR.strip(),
        condition="attribute_exists(#pk)",
        names={"#pk": "pk"},
        values={},
    )


def update(
    table: Table,
    digest: str,
    *,
    enabled: bool,
    expires_at: Micros | None,
    rate_limit: int | None,
) -> Write:
    """Write all that a PATCH can change, so that both items of a key always agree.

    `tat` stays as it is under every new limit: it only ever grows, which is why an authorizer
    may trust the value that it remembers, and the window of every limit is the same minute.
    """
    sets, removes = ["en = :en"], []
    names = {"#pk": "pk", "#exp": "exp"}
    values: dict[str, Any] = {":en": enabled}
    if expires_at is None:
        removes.append("#exp")
    else:
        sets.append("#exp = :exp")
        values |= {":exp": expires_at}
    names["#ref"] = "ref"
    if rate_limit is None:
        removes += ["lim", "ivl", "#ref", "nxt"]
    else:
        pace = rules.pace(rate_limit)
        sets += [
            "lim = :lim",
            "ivl = :ivl",
            "#ref = :ref",
            "nxt = if_not_exists(tat, :zero) + :back",
        ]
        values |= {
            ":lim": rate_limit,
            ":ivl": pace.interval,
            ":ref": pace.refill,
            ":zero": 0,
            ":back": pace.interval - rate_limit * pace.interval,
        }
    expression = f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
    return table.change(
        store.item_key(digest),
        expression,
        condition="attribute_exists(#pk)",
        names=names,
        values=values,
    )


def narrow(table: Table, digest: str, *, owner: Owner, grants: Grants, enabled: bool) -> Write:
    """Copy an identity and narrower grants into a key, unless it has a newer version of it."""
    expression, values = store.owner_update(owner)
    return table.change(
        store.item_key(digest),
        f"{expression}, sc = :sc, pm = :pm, en = :en",
        condition=store.OWNER_IS_OLDER,
        names={},
        values=values
        | {
            ":sc": list(grants.scopes),
            ":pm": grants.permissions.to_dict(),
            ":en": enabled,
        },
    )
