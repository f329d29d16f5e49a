"""A stack whose settings keys change, and its stored secrets, without HTTP."""

from __future__ import annotations

import pytest

from gatehouse.dynamo.table import Tables, transact
from gatehouse.secrets import actions as secrets
from gatehouse.secrets import store, writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose, Sealed
from support.checks.inspection import State

CURRENT = "HAMMURABI_SETTINGS_ENCRYPTION_KEY"
PREVIOUS = "HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS"
PLACE = Place(Purpose.PEER, "account-a", "peer-1")
MARK = "5ec2e7" * 8


class KeyedStack:
    """The stack's vault, made from the environment variables that a test sets."""

    def __init__(self, aws: pytest.MonkeyPatch, tables: Tables) -> None:
        self._aws, self.tables = aws, tables

    def set(self, current: str = "", previous: str = "") -> Vault:
        """Set both variables, as a deployment does, and return a new vault."""
        self._aws.setenv(CURRENT, current)
        self._aws.setenv(PREVIOUS, previous)
        return secrets.vault(self.tables.main)

    def put(self, vault: Vault, place: Place = PLACE, text: str = MARK) -> Place:
        """Store a secret."""
        write = writes.put_new(self.tables.main, vault, place, text)
        transact(self.tables.main.client, [write])
        return place

    def read(self, vault: Vault, place: Place = PLACE) -> str | None:
        """Read and decrypt a secret."""
        return secrets.read(self.tables.main, vault, place)

    def stored(self) -> dict[Place, Sealed]:
        """Read the encrypted secrets of all accounts."""
        found = {}
        for item in State(self.tables).main:
            if "ciphertext" in item:
                purpose, _, name = item["sk"].partition("#")
                account_id, origin = item["pk"].removeprefix("SECRET#"), item.get("origin")
                place = Place(Purpose(purpose), account_id, name, origin)
                sealed = store.read(self.tables.main, place)
                assert sealed is not None
                found[place] = sealed
        return found

    def wrapped_by(self) -> set[str]:
        """Return the `wrapped_by` of every stored secret."""
        return {sealed.wrapped_by for sealed in self.stored().values()}
