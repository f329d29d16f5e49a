"""The settings keys: what wraps data keys in KMS's place, and what did before.

The instance remembers in the table which of them wraps its secrets, so that a key which went
missing, or is another one, is refused before it seals anything.
"""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass, field
from functools import lru_cache

from gatehouse.core import settings
from gatehouse.core.errors import SettingsKeyUnusable, Unavailable
from gatehouse.dynamo.table import Table
from gatehouse.secrets import rules, store
from gatehouse.secrets.model import KMS, SettingsKey

_CURRENT, _PREVIOUS = settings.SETTINGS_ENCRYPTION_KEY, settings.SETTINGS_ENCRYPTION_KEY_PREVIOUS
_TRIES = 4

Given = bytes | str | None
"""A key as `rules.key_of` reads it."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Both keys as they were given, and the table that has the salt for texts."""

    table: Table
    current: Given = field(default=None, repr=False)
    previous: Given = field(default=None, repr=False)
    # A salt never changes once it is there.
    _salt: list[bytes] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_settings(cls, table: Table) -> Keyring:
        """Read both variables. Raises SettingsKeyUnusable, naming the one that is malformed."""
        current, previous = (
            rules.key_of(one.text(), variable=one.name) for one in (_CURRENT, _PREVIOUS)
        )
        return cls(table, current, previous)

    def sealing(self) -> SettingsKey | None:
        """Give the key to wrap a new secret with; None: KMS wraps it.

        Raises SettingsKeyUnusable where stored secrets may be wrapped by a key that is not here:
        then nothing is sealed, or the next one would be stored under what nobody meant.
        """
        for _ in range(_TRIES):
            remembered = store.wrapping(self.table).by
            if remembered != KMS and self._opener(remembered) is None:
                raise SettingsKeyUnusable(
                    f"Secrets are wrapped by another key than {_CURRENT.name} is set to. "
                    f"Set it back, or give that key as {_PREVIOUS.name} and re-wrap"
                )
            key = self.wrapping()
            # What KMS wrapped KMS opens for ever, so it may be left behind without more ado.
            if key is None or remembered != KMS or store.remember(self.table, key.id, seen=KMS):
                return key
        raise Unavailable

    def wrapping(self) -> SettingsKey | None:
        """Give the key that is set to wrap, None for KMS, whatever wrapped before."""
        return self._derived(self.current, make_salt=True)

    def opening(self, wrapped_by: str) -> SettingsKey:
        """Give the key of an id, or raise SettingsKeyUnusable."""
        key = self._opener(wrapped_by)
        if key is None:
            raise SettingsKeyUnusable(
                f"A secret is wrapped by a key that is neither {_CURRENT.name} nor {_PREVIOUS.name}"
            )
        return key

    def _opener(self, wrapped_by: str) -> SettingsKey | None:
        for given in (self.current, self.previous):
            key = self._derived(given, make_salt=False)
            if key is not None and key.id == wrapped_by:
                return key
        return None

    def _derived(self, given: Given, *, make_salt: bool) -> SettingsKey | None:
        """Derive a key; None where there is none, or a text that never wrapped anything."""
        if isinstance(given, str):
            salt = self._find_salt(make=make_salt)
            return None if salt is None else _of_text(given, salt)
        return None if given is None else rules.settings_key(given)

    def _find_salt(self, *, make: bool) -> bytes | None:
        if not self._salt:
            salt = store.wrapping(self.table).salt
            if salt is None and make:
                salt = store.salted(self.table, randomness.token_bytes(rules.SALT_BYTES)).salt
            if salt is None:
                return None
            self._salt.append(salt)
        return self._salt[0]


@lru_cache(maxsize=4)
def _of_text(text: str, salt: bytes) -> SettingsKey:
    """Stretch a text once per environment: it is slow on purpose."""
    return rules.settings_key(rules.stretch(text, salt=salt))
