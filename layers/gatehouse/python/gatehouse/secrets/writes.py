"""Writes of secrets that other rooms put into their own transactions."""

from __future__ import annotations

from gatehouse.dynamo.table import Table, Write
from gatehouse.secrets import store
from gatehouse.secrets.model import Place, Sealer


def put_new(table: Table, sealer: Sealer, place: Place, plaintext: str) -> Write:
    """Encrypt a new secret and return its write. Refused where the place has a secret already.

    Raises what `Sealer.seal` raises.
    """
    return store.put_new(table, place, sealer.seal(place, plaintext))


def put(table: Table, sealer: Sealer, place: Place, plaintext: str) -> Write:
    """Encrypt a secret and return its write, which replaces one that is there.

    Raises what `Sealer.seal` raises.
    """
    return store.put(table, place, sealer.seal(place, plaintext))


def replace(table: Table, sealer: Sealer, place: Place, plaintext: str) -> Write:
    """Encrypt a secret and return its write. Refused where the place has no secret yet.

    Raises what `Sealer.seal` raises.
    """
    return store.replace(table, place, sealer.seal(place, plaintext))


def remove(table: Table, place: Place) -> Write:
    """Return the write that removes a secret; it succeeds also where there is none."""
    return store.delete(table, place)
