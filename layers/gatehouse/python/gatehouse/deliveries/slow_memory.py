"""What one environment of the fast lane remembers of slow webhooks and of their accounts.

The mark in the table is read at most every few seconds. Before its first slow attempt a webhook has
no mark. Each account therefore has a budget of time for such attempts, in each environment. Beyond
it, its webhooks that are not known as quick go through the slow lane, too: an owner cannot keep the
fast lane busy with many webhooks, or with new ones.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.deliveries.model import AttemptMessage
from gatehouse.webhooks.model import Webhook

# An attempt below this is quick: it holds up a batch no longer than its own table calls may.
QUICK: Micros = SECOND
# What slow attempts of an account may take beyond that, and how fast it is forgiven.
BUDGET: Micros = 15 * SECOND
FORGIVEN = 10  # time until a unit of it is forgiven, in units of it
MOST_OWED: Micros = 60 * SECOND

KNOWN: Micros = 10 * SECOND  # how long a mark is believed without reading it again
PROVEN: Micros = MINUTE  # how long a webhook counts as quick after a quick attempt here
SUCCESSFUL: Micros = 5 * MINUTE  # ... and after a success elsewhere, if none here was long since

_MOST_WEBHOOKS = 10_000
_MOST_ACCOUNTS = 1_000

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Debt:
    owed: Micros
    at: Micros

    def left(self, now: Micros) -> Micros:
        return max(0, self.owed - max(0, now - self.at) // FORGIVEN)


class SlowMemory:
    """Remembers slow webhooks for the fast lane. Used by one thread."""

    def __init__(self) -> None:
        """Start empty."""
        self._slow: OrderedDict[str, Micros] = OrderedDict()  # when the mark was read or made
        self._quick: OrderedDict[str, Micros] = OrderedDict()  # the last quick attempt
        self._long: OrderedDict[str, Micros] = OrderedDict()  # the last attempt that was not
        self._debts: OrderedDict[str, _Debt] = OrderedDict()  # by account

    def is_marked(self, message: AttemptMessage, now: Micros) -> bool:
        """Return whether an attempt's webhook is marked as slow, as far as is remembered."""
        marked_at = self._slow.get(message.webhook_id)
        return marked_at is not None and now - marked_at < KNOWN

    def is_over_budget(self, message: AttemptMessage, webhook: Webhook | None, now: Micros) -> bool:
        """Return whether an attempt must use the slow lane because its account has no time left.

        `webhook` is the attempt's, None if it is not known.
        """
        debt = self._debts.get(message.account_id)
        if debt is None or debt.left(now) <= BUDGET:
            return False
        quick_at = self._quick.get(message.webhook_id)
        if quick_at is not None and now - quick_at < PROVEN:
            return False
        long_at = self._long.get(message.webhook_id)
        success_at = webhook.last_success_at if webhook is not None else None
        return not (
            success_at is not None
            and now - success_at < SUCCESSFUL
            and (long_at is None or now - long_at >= SUCCESSFUL)
        )

    def learn(self, webhook_id: str, now: Micros) -> None:
        """Remember that a webhook is marked as slow."""
        _keep(self._slow, webhook_id, now, most=_MOST_WEBHOOKS)

    def note(self, message: AttemptMessage, took: Micros, now: Micros) -> None:
        """Remember how long an attempt took, or takes up to now."""
        if took < QUICK:
            _keep(self._quick, message.webhook_id, now, most=_MOST_WEBHOOKS)
            return
        self._quick.pop(message.webhook_id, None)
        _keep(self._long, message.webhook_id, now, most=_MOST_WEBHOOKS)
        debt = self._debts.get(message.account_id)
        owed = (debt.left(now) if debt is not None else 0) + took - QUICK
        _keep(
            self._debts,
            message.account_id,
            _Debt(min(MOST_OWED, owed), now),
            most=_MOST_ACCOUNTS,
        )


def _keep(kept: OrderedDict[str, _Value], name: str, value: _Value, *, most: int) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > most:
        kept.popitem(last=False)
