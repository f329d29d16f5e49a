"""`PEERS#<account>` by id. `PEER#<id>` points to it. `NONCE#<digest>` is a used nonce."""

from __future__ import annotations

import hashlib

from gatehouse.core.clock import SECOND, Micros
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
    return None if item is None else _from_item(item)


def list_peers(table: Table, account_id: str) -> list[Peer]:
    """Read all peers of an account, oldest first."""
    return [_from_item(item) for item in table.query_all(keyspace.PEERS.pk(account_id))]


def create(table: Table, peer: Peer) -> dict[str, Write]:
    """Write a new peer."""
    item: Item = {
        **_key(peer.account_id, peer.id),
        "name": peer.name,
        "endpoint": peer.endpoint,
        "allowed_scopes": list(peer.allowed_scopes),
        "created_at": peer.created_at,
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
        "count": counters.move(table, keyspace.PEERS.pk(peer.account_id), by=-1, most=MOST_PEERS),
    }


def check_exists(table: Table, peer: Peer) -> Write:
    """Check that a peer still exists."""
    return table.check(
        _key(peer.account_id, peer.id), condition="attribute_exists(pk)", names={}, values={}
    )


def use_nonce(table: Table, peer_id: str, nonce: str, *, ends_at: Micros) -> Write:
    """Mark a peer's nonce as used, if it was not used before."""
    digest = hashlib.sha256(f"{peer_id}\n{nonce}".encode()).hexdigest()
    return table.put_new({"pk": keyspace.NONCE.pk(digest), "sk": "NONCE", "ttl": ends_at // SECOND})


def _from_item(item: Item) -> Peer:
    return Peer(
        id=item["sk"],
        account_id=keyspace.PEERS.rest_of(item["pk"]),
        name=item["name"],
        endpoint=item["endpoint"],
        allowed_scopes=tuple(item["allowed_scopes"]),
        expires_at=item.get("expires_at"),
        created_at=item["created_at"],
    )


def _key(account_id: str, peer_id: str) -> dict[str, str]:
    return {"pk": keyspace.PEERS.pk(account_id), "sk": peer_id}


def _pointer(peer_id: str) -> dict[str, str]:
    return {"pk": keyspace.PEER.pk(peer_id), "sk": "PEER"}
