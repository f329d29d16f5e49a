"""What a provider may be called, what its key may look like, and how both are recorded. Pure."""

from __future__ import annotations

import re
from typing import Any

from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.providers.model import TRANSCRIPTION, ProviderKey
from gatehouse.secrets.model import Place, Purpose

_LONGEST_KEY = 4_096
_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


def named(account_id: str, name: str) -> Place:
    """Place the key of a provider by its name, or raise BadInput."""
    if _NAME.fullmatch(name) is None:
        raise BadInput("Invalid provider name", details={"field": "name"})
    return Place(Purpose.PROVIDER, account_id, name)


def transcription(account_id: str) -> Place:
    """Place the key for transcription."""
    purpose, name = TRANSCRIPTION
    return Place(purpose, account_id, name)


def place_of(account_id: str, path: str) -> Place:
    """Place a key as the operator writes it, `provider/<name>` or `transcription/openai`.

    Raises BadInput: what other secrets there are is nobody's to read.
    """
    purpose, _, name = path.partition("/")
    if purpose == Purpose.PROVIDER.value:
        return named(account_id, name)
    if (purpose, name) == TRANSCRIPTION:
        return transcription(account_id)
    raise BadInput("secret must be provider/<name> or transcription/openai")


def key_of(text: str | None, *, field: str) -> str:
    """Check a provider's key: 1 to 4,096 characters, none of them a control character."""
    if text is None or not text.strip():
        raise FieldRequired(field)
    if len(text) > _LONGEST_KEY:
        raise BadInput(
            f"{field} must have at most {_LONGEST_KEY} characters", details={"field": field}
        )
    if not text.isprintable():
        raise BadInput(f"{field} must not hold control characters", details={"field": field})
    return text


def target(place: Place) -> str:
    """Name a key in an audit event."""
    return f"secret:{place.purpose.value}/{place.name}"


def audit_view(key: ProviderKey) -> dict[str, Any]:
    """Show a key in an audit event: nothing of its value, not even how long it is."""
    return {"updated_at": rfc3339(key.updated_at)}
