from __future__ import annotations

import re
from dataclasses import dataclass

from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput
from gatehouse.secrets.model import Place, Purpose

MOST_KEYS = 50
LONGEST_KEY = 4_096  # characters

# The key for transcription has this one fixed place.
_TRANSCRIPTION = (Purpose.TRANSCRIPTION, "openai")
_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """The record that an account has a provider's key. The key itself is an encrypted secret."""

    place: Place
    updated_at: Micros


def provider_place(account_id: str, name: str) -> Place:
    """Return the place of a provider's key. Raises BadInput where the name is not valid."""
    if _NAME.fullmatch(name) is None:
        raise BadInput("Invalid provider name", details={"field": "name"})
    return Place(Purpose.PROVIDER, account_id, name)


def transcription_place(account_id: str) -> Place:
    """Return the place of the key for transcription."""
    purpose, name = _TRANSCRIPTION
    return Place(purpose, account_id, name)


def parse_place(account_id: str, path: str) -> Place:
    """Read a place as operators write it: `provider/<name>` or `transcription/openai`.

    Raises BadInput for any other secret: operators cannot read those.
    """
    purpose, _, name = path.partition("/")
    if purpose == Purpose.PROVIDER.value:
        return provider_place(account_id, name)
    if (purpose, name) == _TRANSCRIPTION:
        return transcription_place(account_id)
    raise BadInput("secret must be provider/<name> or transcription/openai")
