"""The settings keys: the current one, which wraps data keys instead of KMS, and the previous one.

The table stores the id of the settings key that wraps this instance's secrets. So a key that is
missing or wrong is refused before it wraps anything.
"""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass, field
from functools import lru_cache

from gatehouse.core import settings
from gatehouse.core.errors import SettingsKeyUnusable, Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import Table
from gatehouse.secrets import rules, store
from gatehouse.secrets.model import KMS, SettingsKey

_CURRENT, _PREVIOUS = settings.SETTINGS_ENCRYPTION_KEY, settings.SETTINGS_ENCRYPTION_KEY_PREVIOUS
_CONFLICTS = Backoff(4)

KeyInput = bytes | str | None
"""A key as `rules.parse_key` returns it."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Both keys as the settings have them. `table` stores the salt for keys that are texts."""

    table: Table
    current: KeyInput = field(default=None, repr=False)
    previous: KeyInput = field(default=None, repr=False)
    # Empty until the salt is read. It never changes after that.
    _salt: list[bytes] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_settings(cls, table: Table) -> Keyring:
        """Read both variables. Raises SettingsKeyUnusable that names the malformed one."""
        current, previous = (
            rules.parse_key(one.text(), variable=one.name) for one in (_CURRENT, _PREVIOUS)
        )
        return cls(table, current, previous)

    def key_for_sealing(self) -> SettingsKey | None:
        """Return the key to wrap a new secret with; None means KMS.

        Raises SettingsKeyUnusable where stored secrets may be wrapped by a key that is neither
        the current nor the previous one. Otherwise a mistyped key would wrap new secrets.
        """
        for _ in _CONFLICTS.tries():
            stored = store.read_wrapping_state(self.table).wrapped_by
            if stored != KMS and self._find(stored) is None:
                raise SettingsKeyUnusable(
                    f"Stored secrets are wrapped by another key than the one in {_CURRENT.name}. "
                    f"Restore that key, or set it as {_PREVIOUS.name} and rewrap the secrets"
                )
            key = self.current_key()
            # KMS can always unwrap what it wrapped, so moving from KMS to a key needs no rewrap.
            if key is None or stored != KMS or store.set_wrapped_by(self.table, key.id, seen=KMS):
                return key
        raise Unavailable

    def current_key(self) -> SettingsKey | None:
        """Return the key that wraps now; None means KMS."""
        return self._derive(self.current, make_salt=True)

    def get(self, key_id: str) -> SettingsKey:
        """Return the key of an id. Raises SettingsKeyUnusable where neither key has that id."""
        key = self._find(key_id)
        if key is None:
            raise SettingsKeyUnusable(
                "The secret is wrapped by a key that is neither in "
                f"{_CURRENT.name} nor in {_PREVIOUS.name}"
            )
        return key

    def _find(self, key_id: str) -> SettingsKey | None:
        for value in (self.current, self.previous):
            key = self._derive(value, make_salt=False)
            if key is not None and key.id == key_id:
                return key
        return None

    def _derive(self, value: KeyInput, *, make_salt: bool) -> SettingsKey | None:
        """Derive a key; None where there is none, or a text for which there is no salt yet."""
        if isinstance(value, str):
            salt = self._find_salt(make=make_salt)
            return None if salt is None else _derive_from_text(value, salt)
        return None if value is None else rules.settings_key(value)

    def _find_salt(self, *, make: bool) -> bytes | None:
        if not self._salt:
            salt = store.read_wrapping_state(self.table).salt
            if salt is None and make:
                new = randomness.token_bytes(rules.SALT_BYTES)
                salt = store.add_salt(self.table, new).salt
            if salt is None:
                return None
            self._salt.append(salt)
        return self._salt[0]


@lru_cache(maxsize=4)
def _derive_from_text(text: str, salt: bytes) -> SettingsKey:
    """Stretch a text. Cached, because scrypt takes about a second."""
    return rules.settings_key(rules.stretch(text, salt=salt))
