"""The partition keys of both tables and of their indexes, one row for each kind of item.

A partition key begins with its kind, so that IAM can restrict a function to kinds of items by
`dynamodb:LeadingKeys`. What each item holds, and who writes and reads it, is in docs/storage.md;
tests compare this file with that page and with the template.
"""

from __future__ import annotations

from dataclasses import dataclass

# The tables and indexes that a partition key belongs to.
MAIN, KEYS_TABLE = "main", "keys"
BY_OWNER, BY_DUE, BY_LISTING = "main/by_owner", "main/by_due", "main/by_listing"


@dataclass(frozen=True, slots=True)
class KeyKind:
    """One kind of partition key. `rest` names what follows the kind, empty for a constant key."""

    name: str
    rest: str
    tables: tuple[str, ...] = (MAIN,)

    @property
    def prefix(self) -> str:
        """What all keys of this kind begin with: `KEYS#`."""
        return f"{self.name}#"

    def pk(self, *parts: str | int) -> str:
        """Return the partition key of these parts: `KEYS#<account>`."""
        return "#".join((self.name, *map(str, parts)))

    def rest_of(self, pk: str) -> str:
        """Return what follows the kind in a partition key of this kind."""
        return pk.removeprefix(self.prefix)


# ---- Table `keys`: looked up on every request --------------------------------------------------
KEY = KeyKind("KEY", "SHA-256 of the key", (KEYS_TABLE,))
SESSION = KeyKind("SESSION", "SHA-256 of the token in the cookie", (KEYS_TABLE,))
TICKET = KeyKind("TICKET", "SHA-256 of the ticket", (KEYS_TABLE,))

# ---- Table `main` ------------------------------------------------------------------------------
ACCOUNT = KeyKind("ACCOUNT", "account id, or `operator`")
ATTEMPT = KeyKind("ATTEMPT", "delivery id")
AUDIT = KeyKind("AUDIT", "account id, then `#machine` for that chain")
CASCADE = KeyKind("CASCADE", "`PENDING`")
CHANGED = KeyKind("CHANGED", "account id")
CONN = KeyKind("CONN", "connection id")
DELIVERY = KeyKind("DELIVERY", "the webhook's part of the delivery id, then the lane")
ENDING = KeyKind("ENDING", "account id, or `WAITING`")
FANOUT = KeyKind("FANOUT", "shard")
GUESSES = KeyKind("GUESSES", "source address, or `*` for all")
HELD = KeyKind("HELD", "connection id")
IDEMPOTENCY = KeyKind("IDEMPOTENCY", "SHA-256 of the request's place and Idempotency-Key")
IDENTITY = KeyKind("IDENTITY", "account id")
INVITE = KeyKind("INVITE", "code")
INVITES = KeyKind("INVITES", "account id")
KEYS = KeyKind("KEYS", "account id")
NONCE = KeyKind("NONCE", "nonce, or SHA-256 of it")
PEER = KeyKind("PEER", "peer id")
PEERS = KeyKind("PEERS", "account id")
PROPAGATE = KeyKind("PROPAGATE", "`ALL`")
PROVIDER = KeyKind("PROVIDER", "account id")
READY = KeyKind("READY", "nothing: the item never exists", (KEYS_TABLE, MAIN))
RING = KeyKind("RING", "account id")
ROLE = KeyKind("ROLE", "account id")
SECRET = KeyKind("SECRET", "account id, or `stack`")
SEED = KeyKind("SEED", "account id")
SERVICE = KeyKind("SERVICE", "account id, then `#KEPT` for results of checks")
SESSIONS = KeyKind("SESSIONS", "key id")
SIGNAL = KeyKind("SIGNAL", "account id, then the lane")
STATS = KeyKind("STATS", "account id, then the lane; or `POSITION`, then the shard")
UNREVOKED = KeyKind("UNREVOKED", "account id")
VIEWERS = KeyKind("VIEWERS", "log group")
VIEWING = KeyKind("VIEWING", "account id")
WAKE = KeyKind("WAKE", "`PENDING`")
WALLET = KeyKind("WALLET", "address in lower case")
WATCHED = KeyKind("WATCHED", "")
WEBHOOK = KeyKind("WEBHOOK", "account id")
WRITES = KeyKind("WRITES", "account id")

# ---- Indexes of `main` -------------------------------------------------------------------------
DUE = KeyKind("DUE", "shard", (BY_DUE,))
LISTED = KeyKind("LISTED", "webhook id, then the state and the lane", (BY_LISTING,))
OWNER = KeyKind("OWNER", "account id, then the identity's", (BY_OWNER,))

ALL = tuple(value for value in tuple(vars().values()) if isinstance(value, KeyKind))
