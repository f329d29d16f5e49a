from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import Micros
from gatehouse.identities.model import Identity
from gatehouse.keys.model import Minted


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. `operator` is True only for the account that bootstrap created."""

    id: str
    name: str
    plan: str
    created_at: Micros
    operator: bool = False


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """A new account, its admin, and the admin's key, whose text is shown once."""

    account: Account
    identity: Identity
    minted: Minted
