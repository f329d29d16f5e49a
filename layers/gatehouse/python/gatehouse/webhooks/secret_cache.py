"""Reads what deliveries are signed with, and caches it for each version of a webhook.

A worker reads the webhook before every attempt. Secrets and headers change only in a transaction
that increments its version. So what was decrypted for one version stays true for that version, and
the second delivery needs neither a read nor a call to KMS.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Table
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import sealed_store, secret_rules
from gatehouse.webhooks.model import Material, SealedMaterial, Webhook

_MOST_CACHED = 500  # webhooks


def find_sealed(table: Table, vault: Vault, webhook: Webhook) -> SealedMaterial | None:
    """Read and decrypt a webhook's material; None if the webhook was deleted.

    The material may be newer than the webhook that was read. Then the webhook has a newer version
    too, and a write on condition of the older one fails.
    """
    text = vaults.read(table, vault, sealed_store.place(webhook))
    return None if text is None else secret_rules.read_sealed(text)


@dataclass(frozen=True, slots=True)
class SecretCache:
    """The decrypted material of the 500 last used webhooks, in one execution environment."""

    table: Table
    vault: Vault
    _cached: OrderedDict[tuple[str, int], SealedMaterial] = field(
        default_factory=OrderedDict, repr=False
    )
    _lock: Lock = field(default_factory=Lock, repr=False)

    def find_material(self, webhook: Webhook, *, now: Micros) -> Material | None:
        """Return the live secrets, oldest first, and headers; None if the webhook was deleted."""
        key = (webhook.id, webhook.version)
        with self._lock:
            sealed = self._cached.get(key)
            if sealed is not None:
                self._cached.move_to_end(key)
        if sealed is None:
            sealed = find_sealed(self.table, self.vault, webhook)
            if sealed is None:
                return None
            with self._lock:
                self._cached[key] = sealed
                while len(self._cached) > _MOST_CACHED:
                    self._cached.popitem(last=False)
        return secret_rules.live_material(sealed, now=now)
