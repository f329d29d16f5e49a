"""`CASCADE#PENDING`: revocations with descendants that began and are not known to be complete.

`CHANGED#<account>`: who last raised, revived or redirected a thing, by its name in audit events.
"""

from __future__ import annotations

from gatehouse.core.clock import Micros
from gatehouse.core.maker import Maker
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.revocation.model import Cascade, Changed

_PENDING = keyspace.CASCADE.pk("PENDING")


def put(table: Table, cascade: Cascade) -> Write:
    """Write the marker of a cascade, or write it again."""
    call = cascade.call
    return table.overwrite(
        {
            **_key(cascade),
            "at": call.now,
            "caller": call.caller.to_context(),
            "request_id": call.request_id,
            "source_address": call.source_address,
        }
    )


def delete(table: Table, cascade: Cascade) -> Write:
    """Delete the marker of a cascade."""
    return table.delete(_key(cascade))


def list_pending(table: Table, *, until: Micros, now: Micros) -> list[Cascade]:
    """Read the cascades that began by a time, as the requests that continue them now."""
    items = table.query_all(_PENDING)
    return [_from_item(item, now) for item in items if item["at"] <= until]


def put_changed(table: Table, call: Call, target: str) -> Write:
    """Write that the caller raised, revived or redirected a thing."""
    maker = Maker.of(call.caller)
    return table.overwrite(
        {
            "pk": keyspace.CHANGED.pk(call.caller.account_id),
            "sk": target,
            "at": call.now,
            "changed_by": maker.created_by,
            "changed_by_key": maker.created_by_key,
        }
    )


def list_changed(table: Table, account_id: str) -> list[Changed]:
    """Read which things of an account were raised, revived or redirected, and by whom."""
    items = table.query_all(keyspace.CHANGED.pk(account_id))
    return [
        Changed(item["sk"], Maker(item["changed_by"], item["changed_by_key"])) for item in items
    ]


def _from_item(item: Item, now: Micros) -> Cascade:
    call = Call(
        request_id=item["request_id"],
        now=now,
        principal=Principal.from_context(item["caller"]),
        source_address=item["source_address"],
    )
    return Cascade(item["sk"].split("#")[1], call)


def _key(cascade: Cascade) -> dict[str, str]:
    caller = cascade.call.caller
    return {
        "pk": _PENDING,
        "sk": f"{caller.account_id}#{cascade.key_id}#{caller.identity_id}",
    }
