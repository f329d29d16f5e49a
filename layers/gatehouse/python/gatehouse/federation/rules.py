"""The proof that a peer sends, and the checks of a new peer. Pure.

The proof is a published format: HMAC-SHA256 in hex, keyed with the shared secret's text, over
method, body hash, timestamp and nonce joined by newlines. The body hash is the SHA-256 of the raw
body, in hex.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from gatehouse.core.clock import MINUTE, Micros, rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.nearest import did_you_mean
from gatehouse.core.reach import Reach, Shown
from gatehouse.core.text import LONGEST_URL, is_plain
from gatehouse.federation.model import SCOPES, Peer, PeerStatus, Proof
from gatehouse.identities.model import Identity

WINDOW: Micros = 5 * MINUTE
SECRET_BYTES = 32
_LONGEST_PROOF = 1_024
_NONCE = re.compile(r"[\x21-\x7e]{8,128}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 ._@-]+", re.ASCII)
_BARE_ID = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_OWN_ACTORS = frozenset({"anonymous", "system", "gatehouse"})


def read_proof(text: str) -> Proof | None:
    """Read the header X-Federation-Proof; None where it is missing or malformed."""
    if len(text) > _LONGEST_PROOF:
        return None
    try:
        parts = json.loads(text)
        proof = Proof(parts["signature"], parts["timestamp"], parts["nonce"], parts["body_hash"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (proof.signature, proof.nonce, proof.body_hash)
    well_formed = (
        all(isinstance(one, str) for one in texts)
        and type(proof.timestamp) is int
        and _HEX.fullmatch(proof.signature) is not None
        and _HEX.fullmatch(proof.body_hash) is not None
        and _NONCE.fullmatch(proof.nonce) is not None
    )
    return proof if well_formed else None


def sign(secret: str, *, method: str, body_hash: str, timestamp: int, nonce: str) -> str:
    """Return the signature of a request, as peers compute it."""
    text = "\n".join((method, body_hash, str(timestamp), nonce))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_valid(proof: Proof, secret: str, *, method: str, body: bytes, now: Micros) -> bool:
    """Return whether a proof is signed with this secret, for this body, within five minutes."""
    expected = sign(
        secret,
        method=method,
        body_hash=proof.body_hash,
        timestamp=proof.timestamp,
        nonce=proof.nonce,
    )
    body_hash = hashlib.sha256(body).hexdigest()
    fresh = abs(now - proof.timestamp * 1_000) <= WINDOW
    return (
        hmac.compare_digest(expected, proof.signature)
        and hmac.compare_digest(body_hash, proof.body_hash)
        and fresh
    )


def nonce_ends_at(proof: Proof) -> Micros:
    """Return until when a used nonce must be stored: as long as its proof could be valid."""
    return proof.timestamp * 1_000 + WINDOW + MINUTE


def receipt(secret: str, *, signal_id: str, body_hash: str) -> str:
    """Return the receipt for an accepted signal."""
    text = "\n".join(("receipt", signal_id, body_hash))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check_endpoint(text: str) -> str:
    """Check a peer's URL: https, a host, no credentials, no fragment. Raises BadInput."""
    refused = BadInput(
        "endpoint must be an https URL without credentials or fragment",
        details={"field": "endpoint"},
    )
    if len(text) > LONGEST_URL or not text.isascii() or not is_plain(text) or " " in text:
        raise refused
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise refused from error
    if (
        parts.scheme != "https"
        or not parts.hostname
        or "@" in parts.netloc
        or "#" in text
        or port == 0
    ):
        raise refused
    return text


def check_scopes(values: Iterable[str] | None) -> tuple[str, ...]:
    """Check the scopes of a peer; None means every signal. Raises BadInput."""
    if values is None:
        return ("signal:*",)
    scopes = tuple(dict.fromkeys(values))
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise BadInput(
            f"Unknown scope: {', '.join(unknown)[:200]}. Allowed: {', '.join(SCOPES)}"
            f"{did_you_mean(unknown[0], SCOPES)}",
            details={"field": "allowed_scopes", "allowed": list(SCOPES)},
        )
    return scopes


def reach_of(peer: Peer) -> Reach:
    """Return how far a peer reaches: it emits signals of its types, without ring or task type."""
    every = "signal:*" in peer.allowed_scopes
    types = [] if every else [one.removeprefix("signal:") for one in peer.allowed_scopes]
    if not every and not types:  # it may send nothing
        return Reach(Grants(), peer.expires_at, peer.rate_limit, concerns=())
    concerns = ["signal_types", "ring_scopes"]
    if every or "task" in types:
        concerns.append("task_types")
    return Reach(
        Grants(("agents:write",), Permissions(signal_types=tuple(types))),
        peer.expires_at,
        peer.rate_limit,
        concerns=tuple(concerns),
        shown={"signal_types": Shown("allowed_scopes", prefix="signal:")},
    )


def may_send(peer: Peer, signal_type: str) -> bool:
    """Return whether a peer may send signals of a type."""
    return bool({"signal:*", f"signal:{signal_type}"} & set(peer.allowed_scopes))


def status(peer: Peer, creator: Identity | None, now: Micros) -> PeerStatus:
    """Return whether a peer may send; `creator` is the identity that trusted it, as it is now."""
    if peer.expires_at is not None and peer.expires_at <= now:
        return PeerStatus.EXPIRED
    if creator is None or creator.absence_for(reach_of(peer)) is not None:
        return PeerStatus.WAITING
    return PeerStatus.ACTIVE


def wait(peer: Peer, now: Micros) -> Micros:
    """Return how long the peer must wait before its next signal; 0 if it need not."""
    busy = peer.tat is not None and peer.tat > now
    return max(0, peer.next_at - now) if busy else 0


def sender(peer: Peer, name: str) -> str:
    """Return who a peer's signal is from: the name that the peer gave, marked where needed.

    A name of letters, digits and ` ._@-` in ASCII stays as it is. Any other could be mistaken for
    something of this instance (`identity:<id>`, `system:gatehouse`, a bare id), or look like it,
    and becomes `peer:<id>/<name>`.
    """
    plain = _PLAIN_NAME.fullmatch(name) and not _BARE_ID.fullmatch(name)
    return name if plain and name.lower() not in _OWN_ACTORS else f"peer:{peer.id}/{name}"


def audit_view(peer: Peer) -> dict[str, Any]:
    """Show a peer in an audit event."""
    return {
        "name": peer.name,
        "endpoint": peer.endpoint,
        "allowed_scopes": list(peer.allowed_scopes),
        "expires_at": rfc3339(peer.expires_at),
        "rate_limit": peer.rate_limit,
        "created_by": peer.maker.created_by,
        "created_by_key": peer.maker.created_by_key,
    }
