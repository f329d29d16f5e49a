"""Sessions and tickets.

Table `keys` has what a request presents: `SESSION#<sha256>` and `TICKET#<sha256>` hold the digest
of the key and an expiry, nothing else. Table `main` lists the sessions of a key, in twenty places.
"""

from __future__ import annotations

from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Tables, Write
from gatehouse.sessions.model import MOST_SESSIONS, Session


def find_key(keys: Table, digest: str, *, now: Micros) -> str | None:
    """Read which key a session belongs to, by its digest; None if unknown or expired."""
    item = keys.get({"pk": keyspace.SESSION.pk(digest)})
    return None if item is None or item["exp"] <= now else str(item["kd"])


def put_ticket(keys: Table, digest: str, *, key_digest: str, expires_at: Micros) -> None:
    """Write a ticket for one socket."""
    keys.insert(
        {
            "pk": keyspace.TICKET.pk(digest),
            "kd": key_digest,
            "exp": expires_at,
            "ttl": expires_at // SECOND,
        }
    )


def take_ticket(keys: Table, digest: str, *, now: Micros) -> str | None:
    """Delete a ticket and return the digest of its key; None if unknown, used or expired."""
    try:
        item = keys.take(
            {"pk": keyspace.TICKET.pk(digest)},
            condition="#exp > :now",
            names={"#exp": "exp"},
            values={":now": now},
        )
    except ConditionFailed:
        return None
    return str(item["kd"])


def list_of_key(main: Table, key_id: str) -> list[Session]:
    """Read a key's sessions, consistently, in the order of their places; expired ones too."""
    items, _ = main.query(keyspace.SESSIONS.pk(key_id), limit=MOST_SESSIONS)
    return [_from_item(item) for item in items]


def create(
    tables: Tables, session: Session, *, key_digest: str, there: Session | None
) -> dict[str, Write]:
    """Write a new session, in place of the one that is there.

    The condition of `place` fails if somebody else took the place.
    """
    main, keys = tables.main, tables.keys
    item: Item = {
        **_key(session),
        "id": session.id,
        "digest": session.digest,
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "ttl": session.expires_at // SECOND,
    }
    if session.source_address is not None:
        item["source_address"] = session.source_address
    writes = {
        "place": main.put_new(item) if there is None else main.put(item, **_is(there)),
        "session": keys.put_new(
            {
                "pk": keyspace.SESSION.pk(session.digest),
                "kd": key_digest,
                "exp": session.expires_at,
                "ttl": session.expires_at // SECOND,
            }
        ),
    }
    if there is not None:
        writes["replaced"] = keys.delete({"pk": keyspace.SESSION.pk(there.digest)})
    return writes


def delete(tables: Tables, session: Session) -> dict[str, Write]:
    """Delete a session. The condition of `place` fails if it is gone."""
    return {
        "place": tables.main.delete_if(_key(session), **_is(session)),
        "session": tables.keys.delete({"pk": keyspace.SESSION.pk(session.digest)}),
    }


def _is(session: Session) -> dict[str, Any]:
    return {"condition": "id = :id", "names": {}, "values": {":id": session.id}}


def _key(session: Session) -> dict[str, str]:
    return {"pk": keyspace.SESSIONS.pk(session.key_id), "sk": f"{session.place:02d}"}


def _from_item(item: Item) -> Session:
    return Session(
        id=item["id"],
        key_id=keyspace.SESSIONS.rest_of(item["pk"]),
        digest=item["digest"],
        place=int(item["sk"]),
        created_at=item["created_at"],
        expires_at=item["expires_at"],
        source_address=item.get("source_address"),
    )
