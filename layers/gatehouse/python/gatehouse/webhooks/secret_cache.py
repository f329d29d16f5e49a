"""What deliveries are signed with, opened once for each version of a webhook.

A worker reads the webhook for every attempt. Secret and headers change only in the transaction
that moves its version, so what was opened for a version holds as long as that version does: no
read and no call to KMS for the second delivery.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Table
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose
from gatehouse.webhooks import rules
from gatehouse.webhooks.model import Material, Sealed, Webhook

_MOST = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """One execution environment's opened secrets; the last used 500 webhooks."""

    table: Table
    vault: Vault
    _kept: OrderedDict[tuple[str, int], Sealed] = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def material(self, webhook: Webhook, *, now: Micros) -> Material | None:
        """Give the live secrets, the old one first, and the custom headers; None where gone."""
        key = (webhook.id, webhook.version)
        with self._lock:
            sealed = self._kept.get(key)
            if sealed is not None:
                self._kept.move_to_end(key)
        if sealed is None:
            place = Place(Purpose.WEBHOOK, webhook.account_id, webhook.id)
            text = vaults.read(self.table, self.vault, place)
            if text is None:
                return None
            sealed = rules.read_sealed(text)
            with self._lock:
                self._kept[key] = sealed
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
        return rules.material(sealed, now=now)
