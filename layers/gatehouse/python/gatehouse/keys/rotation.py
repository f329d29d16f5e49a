"""Rotate keys: a successor takes the place of a key, which may work on for a grace.

A line of rotations has at most two live keys: the newest and, in its grace, the one before. Both
count in one limit, which the newest takes over as it is. So rotating gives nobody a second limit
or a new burst.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatehouse.audit.model import Change
from gatehouse.core import reach
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import Conflict
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.credentials import writes as credential_writes
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.keys import actions, rules, store
from gatehouse.keys.model import Key, Minted, NewKey, Succession
from gatehouse.keys.writes import check_caller, count, counted, prepare, revocation, target
from gatehouse.wallets import writes as wallet_writes


def rotate(tables: Tables, call: Call, key_id: str, *, grace_seconds: int, prefix: str) -> Minted:
    """Create a successor with the same owner and grants; the old key works for the grace.

    Ends the predecessor that is still in its grace and, if this key was rotated before, the
    successor of that rotation. Raises Conflict if the key has expired; a PATCH of its expiry comes
    first.
    """
    idempotency.check(tables.main, call.guard)
    grace = rules.checked_grace(grace_seconds)

    def attempt() -> Minted:
        old = actions.get(tables, call, key_id)
        if rules.is_expired(old, call.now):
            raise Conflict("API key has expired", code="API_KEY_EXPIRED")
        reach.check(Reach.of(call.caller), rules.reach_of(old))
        owner = identities.get_active(tables.main, old.account_id, old.owner)
        rules.check_ceiling(old.grants, owner.ceiling)
        line = _read_line(tables, old, now=call.now)
        revoked_at = rules.end_of_grace(old, grace, call.now)
        minted, writes = prepare(
            tables,
            NewKey(
                old.name,
                prefix,
                old.grants,
                old.expires_at,
                old.rate_limit,
                metadata=old.metadata,
                wallet=old.wallet,
                parent=call.caller.key_id,
                succeeds=_succession(old, tat=line.tat, until=revoked_at if grace else None),
            ),
            owner=owner,
            created_by=call.caller.identity_id,
            operator=call.caller.operator,
            now=call.now,
            enabled=old.enabled,
        )
        changes = [
            Change(
                "api_key.rotate",
                target(old),
                before=rules.audit_view(old),
                after=rules.audit_view(minted.key)
                | {"successor": target(minted.key), "old_revoked_at": rfc3339(revoked_at)},
            )
        ]
        writes |= _retire(tables, old, minted.key, at=revoked_at, now=call.now)
        live = 1 if grace else 0
        for number, ended in enumerate(line.ending):
            change, ending = revocation(tables, ended, now=call.now, in_rotation=True)
            live -= len(counted(ended, call.now))
            changes.append(change)
            writes |= {f"{name}_{number}": write for name, write in ending.items()}
        del writes["count"]
        writes |= count(tables.main, old.account_id, made=live)
        if old.wallet is not None:
            neighbours = (old.id, old.predecessor, old.successor)
            writes["wallet"] = wallet_writes.follow_rotation(
                tables.main,
                old.wallet,
                line=[one for one in neighbours if one is not None],
                to=minted.key.id,
            )
        if call.caller.key_id not in {old.id, *(key.id for key in line.ending)}:
            # The transaction writes these keys on condition of their versions already.
            writes |= check_caller(tables.main, call)
        writes["owner"] = identity_writes.unchanged(tables.main, owner)
        actions.commit(tables, call, writes, *changes, made=minted.key.id)
        return minted

    return actions.retry(tables, call, attempt)


@dataclass(frozen=True, slots=True)
class _Line:
    """The keys that end with a rotation, and `tat` of the limit in which the old key counts."""

    ending: list[Key]
    tat: Micros | None


def _read_line(tables: Tables, old: Key, *, now: Micros) -> _Line:
    """Read the keys of the old key's line and the state of its limit.

    What passes between this read and the commit is not carried over.
    """
    before, after = (
        store.read(tables.main, old.account_id, key_id) if key_id else None
        for key_id in (old.predecessor, old.successor)
    )
    counts_in = old if after is None else after
    credential = credentials.find_by_digest(tables.keys, counts_in.digest)
    ending = [key for key in (before, after) if key is not None and not rules.is_revoked(key, now)]
    return _Line(ending, None if credential is None else credential.tat)


def _succession(old: Key, *, tat: Micros | None, until: Micros | None) -> Succession:
    if until is None:
        return Succession(tat)
    return Succession(tat, old.id, old.digest, until)


def _retire(
    tables: Tables, old: Key, successor: Key, *, at: Micros, now: Micros
) -> dict[str, Write]:
    """Return the writes that end the old key at a moment, at once or after its grace."""
    retired = replace(old, revoked_at=at, version=old.version + 1)
    if at <= now:
        retired = replace(retired, ended=True)
        credential = credential_writes.revoke(tables.keys, old.digest, at, with_predecessor=True)
    else:
        retired = replace(retired, successor=successor.id)
        credential = credential_writes.hand_over(
            tables.keys, old.digest, successor=successor.digest, at=at
        )
    return {
        "old_credential": credential,
        "old_key": store.replace(tables.main, retired, seen=old),
        **{
            f"old_{name}": write
            for name, write in store.end_unrevoked(tables.main, old, at=at, now=now).items()
        },
    }
