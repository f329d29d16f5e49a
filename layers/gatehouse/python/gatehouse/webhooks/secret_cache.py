"""Reads what deliveries are signed with, and caches it for each version of a webhook.

A worker reads the webhook of each attempt. Secrets and headers change only in a transaction that
increments its version. So what was decrypted for one version stays true for that version, and the
second delivery needs neither a read nor a call to KMS.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import Table
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import sealed_store, secret_rules
from gatehouse.webhooks.model import Material, SealedSecrets, Webhook

_MOST_CACHED = 5_000  # webhooks


def find_secrets(table: Table, vault: Vault, webhook: Webhook) -> SealedSecrets | None:
    """Read and decrypt a webhook's secrets; None if the webhook was deleted.

    They may be newer than the webhook that was read. Then the webhook has a newer version too, and
    a write on condition of the older one fails.
    """
    text = vaults.read(table, vault, sealed_store.secrets_place(webhook))
    return None if text is None else secret_rules.read_sealed(text)


def find_headers(table: Table, vault: Vault, webhook: Webhook) -> dict[str, str] | None:
    """Read and decrypt a webhook's header values; None if they were removed since it was read.

    Raises WrongPlace of secrets if they are bound to another origin than that of the webhook's URL.
    """
    if not webhook.header_names:
        return {}
    text = vaults.read(table, vault, sealed_store.headers_place(webhook))
    return None if text is None else secret_rules.read_headers(text)


@dataclass(frozen=True, slots=True)
class SecretCache:
    """The decrypted material of the webhooks used last, in one execution environment."""

    table: Table
    vault: Vault
    _cached: OrderedDict[tuple[str, int], tuple[SealedSecrets, dict[str, str]]] = field(
        default_factory=OrderedDict, repr=False
    )
    _lock: Lock = field(default_factory=Lock, repr=False)

    def find_material(self, webhook: Webhook, *, now: Micros) -> Material | None:
        """Return the live secrets, oldest first, and headers; None if the webhook was deleted.

        Raises Unavailable if the webhook lost its headers after it was read.
        """
        key = (webhook.id, webhook.version)
        with self._lock:
            cached = self._cached.get(key)
            if cached is not None:
                self._cached.move_to_end(key)
        if cached is None:
            sealed = find_secrets(self.table, self.vault, webhook)
            if sealed is None:
                return None
            headers = find_headers(self.table, self.vault, webhook)
            if headers is None:
                raise Unavailable  # the webhook was changed after it was read
            cached = (sealed, headers)
            with self._lock:
                self._cached[key] = cached
                while len(self._cached) > _MOST_CACHED:
                    self._cached.popitem(last=False)
        sealed, headers = cached
        return Material(secret_rules.live_secrets(sealed, now=now), dict(headers))
