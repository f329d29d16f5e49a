"""`PEERS#<account>` by id. `PEER#<id>` points to it. `NONCE#<digest>` is a used nonce."""

from __future__ import annotations

import hashlib

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.maker import Maker
from gatehouse.credentials.model import Pace
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.federation.model import MOST_PEERS, Peer


def find(table: Table, peer_id: str) -> Peer | None:
    """Read a peer by its id alone, consistently; None where there is none."""
    pointer = table.get(_pointer(peer_id))
    return None if pointer is None else read(table, pointer["account_id"], peer_id)


def read(table: Table, account_id: str, peer_id: str) -> Peer | None:
    """Read an account's peer, consistently; None where there is none."""
    item = table.get(_key(account_id, peer_id))
    return None if item is None else from_item(item)


def list_peers(table: Table, account_id: str) -> list[Peer]:
    """Read all peers of an account, oldest first."""
    return [from_item(item) for item in table.query_all(keyspace.PEERS.pk(account_id))]


def create(table: Table, peer: Peer) -> dict[str, Write]:
    """Write a new peer."""
    item: Item = {
        **_key(peer.account_id, peer.id),
        "name": peer.name,
        "endpoint": peer.endpoint,
        "allowed_scopes": list(peer.allowed_scopes),
        "created_at": peer.created_at,
        "rate_limit": peer.rate_limit,
        "created_by": peer.maker.created_by,
        "created_by_key": peer.maker.created_by_key,
    }
    if peer.expires_at is not None:
        item["expires_at"] = peer.expires_at
    return {
        "peer": table.put_new(item),
        "pointer": table.put_new({**_pointer(peer.id), "account_id": peer.account_id}),
        "count": counters.move(table, keyspace.PEERS.pk(peer.account_id), by=1, most=MOST_PEERS),
    }


def remove(table: Table, peer: Peer) -> dict[str, Write]:
    """Remove a peer, if it is there."""
    return {
        "peer": table.delete_if(
            _key(peer.account_id, peer.id),
            condition="attribute_exists(pk)",
            names={},
            values={},
        ),
        "pointer": table.delete(_pointer(peer.id)),
    }


def counter(account_id: str) -> str:
    """Return the partition key that names the counter of peers."""
    return keyspace.PEERS.pk(account_id)


def spend(table: Table, peer: Peer, *, pace: Pace, now: Micros) -> Write:
    """Count one signal of a peer. The condition fails if it was removed, or must wait.

    It also fails if another signal moved the peer from unused to busy since it was read: the
    two are two updates, as for a key.
    """
    busy = peer.tat is not None and peer.tat > now
    if busy:
        expression = "SET tat = tat + :interval, next_at = next_at + :interval"
        condition = "tat > :now AND next_at <= :now"
        values = {":interval": pace.interval, ":now": now}
    else:
        expression = "SET tat = :tat, next_at = :next"
        condition = "attribute_exists(pk) AND (attribute_not_exists(tat) OR tat <= :now)"
        values = {":tat": now + pace.interval, ":next": now + pace.refill, ":now": now}
    return table.change(
        _key(peer.account_id, peer.id), expression, condition=condition, names={}, values=values
    )


def use_nonce(table: Table, peer_id: str, nonce: str, *, ends_at: Micros) -> Write:
    """Mark a peer's nonce as used, if it was not used before."""
    digest = hashlib.sha256(f"{peer_id}\n{nonce}".encode()).hexdigest()
    return table.put_new({"pk": keyspace.NONCE.pk(digest), "sk": "NONCE", "ttl": ends_at // SECOND})


def from_item(item: Item) -> Peer:
    """Read a peer's item."""
    return Peer(
        id=item["sk"],
        account_id=keyspace.PEERS.rest_of(item["pk"]),
        name=item["name"],
        endpoint=item["endpoint"],
        allowed_scopes=tuple(item["allowed_scopes"]),
        expires_at=item.get("expires_at"),
        created_at=item["created_at"],
        rate_limit=item["rate_limit"],
        maker=Maker(item["created_by"], item["created_by_key"]),
        tat=item.get("tat"),
        next_at=item.get("next_at", 0),
    )


def _key(account_id: str, peer_id: str) -> dict[str, str]:
    return {"pk": keyspace.PEERS.pk(account_id), "sk": peer_id}


def _pointer(peer_id: str) -> dict[str, str]:
    return {"pk": keyspace.PEER.pk(peer_id), "sk": "PEER"}
