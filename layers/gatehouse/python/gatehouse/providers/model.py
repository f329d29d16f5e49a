from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import Micros
from gatehouse.secrets.model import Place, Purpose

MOST_KEYS = 50

# The one place beside the named ones that callers know: the key for transcription.
TRANSCRIPTION = (Purpose.TRANSCRIPTION, "openai")


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """That an account keeps a provider's key, and since when. The key itself is in the vault."""

    place: Place
    updated_at: Micros
