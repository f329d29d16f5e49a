"""How a webhook's secrets are written, checked, rotated and expire. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import BadInput
from gatehouse.webhooks.model import (
    DEFAULT_GRACE_SECONDS,
    FEWEST_SECRET_BYTES,
    LONGEST_GRACE_SECONDS,
    MOST_SECRET_BYTES,
    SECRET_PREFIX,
    SealedSecrets,
    Secret,
)


def check_grace(seconds: int | None) -> Micros:
    """Check a rotation's grace; None is a day. Raises BadInput."""
    seconds = DEFAULT_GRACE_SECONDS if seconds is None else seconds
    if not 0 <= seconds <= LONGEST_GRACE_SECONDS:
        raise BadInput(
            f"grace_seconds must be from 0 to {LONGEST_GRACE_SECONDS}",
            details={"field": "grace_seconds"},
        )
    return seconds * SECOND


def check_secret(text: str) -> str:
    """Check a secret that an operator provides. The BadInput does not show it."""
    try:
        raw = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    fits = FEWEST_SECRET_BYTES <= len(raw) <= MOST_SECRET_BYTES
    if not text.startswith(SECRET_PREFIX) or not fits:
        raise BadInput(
            f"secret must be {SECRET_PREFIX} and base64 of {FEWEST_SECRET_BYTES} to "
            f"{MOST_SECRET_BYTES} bytes",
            details={"field": "secret"},
        )
    return text


def digest(secret: str) -> str:
    """Return a secret's SHA-256 in hex, to detect a change."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_text(random: bytes) -> str:
    """Return random bytes as a secret: whsec_ and base64."""
    return SECRET_PREFIX + base64.b64encode(random).decode()


def rotate(
    sealed: SealedSecrets, new: str, *, grace: Micros, now: Micros, seeded: bool = False
) -> SealedSecrets:
    """Add a new secret; the current one stays live for the grace.

    At most two are live: a secret that was in its grace already expires now. `seeded`: a bootstrap
    file provided the new secret.
    """
    last_seeded = digest(new) if seeded else sealed.seeded
    current = sealed.secrets[-1:]
    if [one.text for one in current] == [new]:
        return replace(sealed, seeded=last_seeded)
    old = (Secret(one.text, now + grace) for one in current if grace)
    return SealedSecrets((*old, Secret(new)), last_seeded)


def live_secrets(sealed: SealedSecrets, *, now: Micros) -> tuple[str, ...]:
    """Return the secrets that have not expired, oldest first."""
    return tuple(one.text for one in sealed.secrets if one.until is None or one.until > now)


def write_headers(headers: Mapping[str, str]) -> str:
    """Return the JSON to encrypt. Stored headers depend on this format."""
    return json.dumps(dict(headers))


def read_headers(text: str) -> dict[str, str]:
    """Parse what `write_headers` returned."""
    headers: dict[str, str] = json.loads(text)
    return headers


def write_sealed(sealed: SealedSecrets) -> str:
    """Return the JSON to encrypt. Stored secrets depend on this format."""
    secrets = [{"text": one.text, "until": one.until} for one in sealed.secrets]
    document: dict[str, Any] = {"secrets": secrets}
    if sealed.seeded is not None:
        document["seeded"] = sealed.seeded
    return json.dumps(document)


def read_sealed(text: str) -> SealedSecrets:
    """Parse what `write_sealed` returned."""
    document = json.loads(text)
    secrets = tuple(Secret(one["text"], one["until"]) for one in document["secrets"])
    return SealedSecrets(secrets, document.get("seeded"))
