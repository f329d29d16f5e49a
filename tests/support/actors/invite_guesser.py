"""Redemptions of codes that may be wrong."""

from __future__ import annotations

import pytest

from gatehouse.core.clock import Micros
from gatehouse.core.errors import (
    NotFound,
)
from gatehouse.dynamo.table import Tables
from gatehouse.invites import redemption
from gatehouse.invites.model import Redeemed
from support.actors.members import (
    outside,
)


def guess(
    tables: Tables, code: str, now: Micros, *, source: str = "198.51.100.1", name: str = "bo"
) -> Redeemed:
    """Redeem a code as somebody new."""
    request = redemption.RedeemRequest(code=code, name=name, type="human")
    return redemption.redeem(tables, outside(now, source=source), request)


def wrong(tables: Tables, times: int, now: Micros, source: str = "198.51.100.1") -> None:
    """Redeem that many codes that no invite has."""
    for number in range(times):
        with pytest.raises(NotFound):
            guess(tables, f"{number:08x}", now, source=source)
