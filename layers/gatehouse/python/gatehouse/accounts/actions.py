"""Open accounts: a tenant's, the operator's; and recover the operator's after all keys are lost."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from gatehouse.accounts import store
from gatehouse.accounts.model import Account, OpenedAccount
from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids, settings
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Conflict, CreationClosed, NotFound
from gatehouse.core.grants import FULL
from gatehouse.core.request import Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Tables, Write
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import NewKey

PLAN = "free"


def get(tables: Tables, account_id: str) -> Account:
    """Read an account consistently, or raise NotFound."""
    account = store.read(tables.main, account_id)
    if account is None:
        raise NotFound("Account not found", code="ACCOUNT_NOT_FOUND")
    return account


def find_operator_id(table: Table) -> str | None:
    """Return the id of the operator's account; None before bootstrap."""
    return store.find_operator_id(table)


def open_account(tables: Tables, call: Call, *, name: str, prefix: str) -> OpenedAccount:
    """Create an account with an admin identity and the key `default`, in one transaction.

    Raises CreationClosed if the stack does not allow it.
    """
    if settings.ACCOUNT_CREATION.text() != "open":
        raise CreationClosed("Account creation is closed")
    idempotency.check(tables.main, call.guard)
    opened, writes = _prepare(
        tables, name=keys.checked_name(name), prefix=prefix, operator=False, now=call.now
    )
    claim = audit.Claim(call.guard, opened.account.id) if call.guard else None
    audit.commit(
        tables.main,
        opened.account.id,
        writes=writes,
        changes=_changes(opened),
        origin=Origin.of(call),
        now=call.now,
        claim=claim,
    )
    return opened


def bootstrap(
    tables: Tables, *, name: str, prefix: str, origin: Origin, now: Micros
) -> OpenedAccount:
    """Create the operator's account, its admin and the first key.

    Raises Conflict if there is an operator's account already.
    """
    opened, writes = _prepare(tables, name=name, prefix=prefix, operator=True, now=now)
    commit_operator(
        tables, opened.account, writes, changes=_changes(opened), origin=origin, now=now
    )
    return opened


def prepare_operator(
    tables: Tables, *, name: str, now: Micros
) -> tuple[Account, dict[str, Write], Change]:
    """Return the operator's account without any identity, its write and its audit event."""
    account = Account(ids.new(now), name, PLAN, now, operator=True)
    return account, {"account": store.create(tables.main, account)}, _creation(account)


def commit_operator(
    tables: Tables,
    account: Account,
    writes: Mapping[str, Write],
    *,
    changes: Sequence[Change],
    origin: Origin,
    now: Micros,
) -> None:
    """Write the operator's account together with `writes`, in one transaction.

    Raises Conflict if there is an operator's account already.
    """
    claimed = {**writes, "operator": store.claim_operator(tables.main, account.id)}
    try:
        audit.commit(
            tables.main, account.id, writes=claimed, changes=changes, origin=origin, now=now
        )
    except audit.Refused as refused:
        if "operator" in refused.failed:
            raise Conflict(
                "The operator's account exists already", code="ALREADY_BOOTSTRAPPED"
            ) from refused
        raise


def recover(tables: Tables, *, prefix: str, origin: Origin, now: Micros) -> OpenedAccount:
    """Create a new admin and key in the operator's account, for callers with IAM rights but no key.

    It is a new identity: an old one may be suspended, and the audit trail shows at once which
    changes came after the recovery.
    """
    account_id = store.find_operator_id(tables.main)
    account = None if account_id is None else store.read(tables.main, account_id)
    if account is None:
        raise NotFound("There is no operator's account yet", code="NOT_BOOTSTRAPPED")
    identity = _admin(account, name="recovered admin", now=now)
    minted, writes = key_writes.prepare(
        tables,
        _key("recovery", prefix, operator=True),
        owner=identity,
        created_by=identity.id,
        operator=True,
        now=now,
        most=sys.maxsize,  # recovery must work in an account that has as many keys as it may
    )
    writes |= identity_writes.join(tables.main, identity)
    opened = OpenedAccount(account, identity, minted)
    audit.commit(
        tables.main,
        account.id,
        writes=writes,
        changes=_changes(opened)[1:],
        origin=origin,
        now=now,
    )
    return opened


def _key(name: str, prefix: str, *, operator: bool) -> NewKey:
    # No key can create one with a higher limit than its own. Without a limit here, keys of this
    # stack can have more than the default.
    limit = None if operator else settings.DEFAULT_RATE_LIMIT.number()
    return NewKey(name, prefix, FULL, None, limit)


def _prepare(
    tables: Tables, *, name: str, prefix: str, operator: bool, now: Micros
) -> tuple[OpenedAccount, dict[str, Write]]:
    account = Account(ids.new(now), name, PLAN, now, operator)
    identity = _admin(account, name=name, now=now)
    minted, writes = key_writes.prepare(
        tables,
        _key("default", prefix, operator=operator),
        owner=identity,
        created_by=identity.id,
        operator=operator,
        now=now,
    )
    writes["account"] = store.create(tables.main, account)
    writes |= identity_writes.join(tables.main, identity)
    return OpenedAccount(account, identity, minted), writes


def _admin(account: Account, *, name: str, now: Micros) -> Identity:
    return Identity(
        id=ids.new(now),
        account_id=account.id,
        name=name,
        type=IdentityType.HUMAN,
        is_admin=True,
        claw_type=ClawType.CENTRAL,
        membership=Membership.ACTIVE,
        created_at=now,
    )


def _changes(opened: OpenedAccount) -> list[Change]:
    account, identity = opened.account, opened.identity
    return [
        _creation(account),
        identity_writes.creation(identity),
        key_writes.creation(opened.minted.key),
    ]


def _creation(account: Account) -> Change:
    return Change(
        "account.create",
        f"account:{account.id}",
        after={"name": account.name, "plan": account.plan, "operator": account.operator},
    )
