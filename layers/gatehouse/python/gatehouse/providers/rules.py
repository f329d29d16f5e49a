"""Checks of a provider's key, and how it is shown in the audit trail. Pure."""

from __future__ import annotations

from typing import Any

from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.text import NOT_PLAIN, is_plain
from gatehouse.providers.model import LONGEST_KEY, ProviderKey
from gatehouse.secrets.model import Place


def check_key(text: str | None, *, field: str) -> str:
    """Check a provider's key and return it: 1 to 4,096 characters, no control characters.

    Raises FieldRequired or BadInput, which name `field`.
    """
    if text is None or not text.strip():
        raise FieldRequired(field)
    if len(text) > LONGEST_KEY:
        raise BadInput(
            f"{field} must have at most {LONGEST_KEY} characters", details={"field": field}
        )
    if not is_plain(text):
        raise BadInput(f"{field} must not have {NOT_PLAIN}", details={"field": field})
    return text


def target(place: Place) -> str:
    """Return the target of an audit event about a key."""
    return f"secret:{place.purpose.value}/{place.name}"


def audit_view(key: ProviderKey) -> dict[str, Any]:
    """Show a key in an audit event: only the time, nothing about its value or length."""
    return {"updated_at": rfc3339(key.updated_at)}
