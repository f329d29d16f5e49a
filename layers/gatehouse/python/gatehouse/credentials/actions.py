"""Decide about a presented key. Table calls: one for a key seen before, at most two for any key.

Only a key in the grace of its rotation can need more, because it spends the requests of its
successor: rotation must not give a second limit. It needs

- one call where an environment remembers the key and its successor's item shows it unchanged;
- two elsewhere: one reads the key's own item, one spends a request of its successor;
- one more if the environment did not know whether the successor's limit is in use, or writes the
  last use of an unlimited key;
- one more for the first request after a change that decides whether the key is admitted.

That is four at most. Tries after a conflict are not counted.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.principal import RateLimitState
from gatehouse.core.retry import Backoff
from gatehouse.credentials import rules, store
from gatehouse.credentials.model import Code, Credential, Owner, Pace, Verdict
from gatehouse.dynamo.table import ConditionFailed, Table, Tables, TransactionConflict

UNLIMITED = -1
_Kept = TypeVar("_Kept")
# Another transaction is changing this very key; botocore does not retry that. The four waits
# together stay within 60 ms.
_CONFLICTS = Backoff(attempts=5, first=0.015, longest=0.015, least=0.5)


class Memory:
    """The last `tat` of each key that an environment has seen, or UNLIMITED.

    It only chooses which table call to try first and never decides. `tat` only grows, so a
    remembered one that lies in the future is right: the key is still busy.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._in_grace: OrderedDict[str, Credential] = OrderedDict()

    def recall(self, digest: str) -> int | None:
        """Return what was remembered last, None for a key that is unknown or was dropped."""
        return self._seen.get(digest)

    def remember(self, credential: Credential) -> None:
        """Remember a credential; over `most` keys, the one remembered longest ago is dropped."""
        hint = UNLIMITED if credential.rate_limit is None else credential.tat
        if hint is not None:
            self._keep(self._seen, credential.digest, hint)

    def recall_in_grace(self, digest: str) -> Credential | None:
        """Return a key in its grace as it was read last. Its successor must show it unchanged."""
        return self._in_grace.get(digest)

    def remember_in_grace(self, old: Credential, *, successor: Credential, now: Micros) -> None:
        """Remember a key in its grace while its successor shows it unchanged, else forget it."""
        if rules.shows_unchanged(successor, old.digest, now):
            self._keep(self._in_grace, old.digest, old)
        else:
            self._in_grace.pop(old.digest, None)

    def _keep(self, kept: OrderedDict[str, _Kept], digest: str, value: _Kept) -> None:
        kept[digest] = value
        kept.move_to_end(digest)
        if len(kept) > self._most:
            kept.popitem(last=False)


def admit(table: Table, key: str, memory: Memory, now: Micros) -> Verdict:
    """Decide about a presented key, and spend one request of its limit if it is valid.

    A malformed key is NOT_FOUND without a table call. Raises Unavailable if the table does not
    answer: a caller is never let through on a guess.
    """
    if not rules.is_well_formed(key):
        return Verdict(Code.NOT_FOUND)
    return admit_digest(table, rules.hash_key(key), memory, now)


def admit_digest(table: Table, digest: str, memory: Memory, now: Micros) -> Verdict:
    """Decide about the key with this digest, as `admit` does about a presented one."""
    verdict = None
    in_grace = memory.recall_in_grace(digest)
    if in_grace is not None:
        verdict = _admit_in_grace(table, in_grace, memory, is_read=False, now=now)
    if verdict is None:
        verdict = _admit_by_own_item(table, digest, memory, now)
    return verdict


def find(table: Table, key: str) -> Credential | None:
    """Read a presented key without spending a request; None if malformed or unknown."""
    return store.read(table, rules.hash_key(key)) if rules.is_well_formed(key) else None


def find_by_digest(table: Table, digest: str) -> Credential | None:
    """Read a credential by its digest, consistently; None if there is none."""
    return store.read(table, digest)


def find_many(tables: Tables, digests: Sequence[str]) -> dict[str, Credential]:
    """Read credentials by digest, eventually consistently. Unknown digests are left out."""
    return store.read_many(tables, digests)


def last_uses(tables: Tables, digests: Sequence[str]) -> dict[str, Micros]:
    """Read the times of last use by digest. Keys that were never used are left out."""
    return store.read_last_uses(tables, digests)


def code_of(credential: Credential, now: Micros) -> Code:
    """Return the code of a credential, without looking at its rate limit."""
    return rules.code_of(credential, now)


def pace(limit: int) -> Pace:
    """Convert requests per minute to GCRA's two numbers."""
    return rules.pace(limit)


def hash_key(key: str) -> str:
    """Return the SHA-256 under which the table stores a key."""
    return rules.hash_key(key)


def find_in_headers(event: Mapping[str, Any]) -> str | None:
    """Return the key in an HTTP event's headers, None if no header has one."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return rules.find_in_headers(headers)


def find_on_socket(event: Mapping[str, Any]) -> str | None:
    """Return the key of a WebSocket's $connect event: from its headers, else its address."""
    key = find_in_headers(event)
    return key if key is not None else rules.find_in_query(event.get("queryStringParameters") or {})


def update_owner(table: Table, digest: str, *, owner: Owner) -> None:
    """Copy an identity into one of its keys. Raises Unavailable while the key is busy."""
    conflict: TransactionConflict | None = None
    for _ in _CONFLICTS.tries():
        try:
            return store.update_owner(table, digest, owner=owner)
        except TransactionConflict as conflicting:
            conflict = conflicting
    raise Unavailable from conflict


def _admit_by_own_item(table: Table, digest: str, memory: Memory, now: Micros) -> Verdict:
    hint = memory.recall(digest)
    calls = 2
    if hint == UNLIMITED:
        credential = store.read(table, digest)
        calls -= 1
        verdict = _verdict_without_spending(credential, now)
    else:
        busy = hint is not None and hint > now
        verdict, credential = _spend(table, digest, busy=busy, now=now)
        calls -= 1
    if verdict is None and credential is not None and credential.successor is None:
        # The hint was wrong or old. The item that came with the failed condition decides.
        busy = credential.tat is not None and credential.tat > now
        verdict, credential = _spend(table, digest, busy=busy, now=now)
        calls -= 1
    if verdict is None and credential is not None and credential.successor is not None:
        verdict = _admit_in_grace(table, credential, memory, is_read=True, now=now)
        if verdict is not None:
            return verdict
    if verdict is None:
        # The key changed between both calls. Answer 503 rather than guess.
        raise Unavailable
    if verdict.credential is not None:
        memory.remember(verdict.credential)
        if calls and verdict.code is Code.VALID and verdict.limit_state is None:
            _write_last_use(table, digest, verdict.credential, now)
    return verdict


def _admit_in_grace(
    table: Table, old: Credential, memory: Memory, *, is_read: bool, now: Micros
) -> Verdict | None:
    """Decide about a live key in its grace by the limit of its successor.

    `is_read`: the key's item was read in this request. If it was not, None is returned where it
    must be read, and the key is forgotten. At most two calls.
    """
    digest = old.successor or ""
    hint = memory.recall(digest)
    successor: Credential | None
    if hint == UNLIMITED:
        successor, spent = store.read(table, digest), False
    else:
        busy = hint is not None and hint > now
        successor, spent = _spend_of_successor(table, old, busy=busy, is_read=is_read, now=now)
    for is_first_call in (True, False):
        if successor is None:
            break  # never: items of keys are not deleted
        memory.remember(successor)
        memory.remember_in_grace(old, successor=successor, now=now)
        if not is_read and not rules.shows_unchanged(successor, old.digest, now):
            return None
        acting = rules.in_place_of(old, successor)
        if spent:
            return Verdict(Code.VALID, acting, _state_after(acting, now))
        verdict = _verdict_without_spending(acting, now)
        if verdict is not None:
            if verdict.code is Code.VALID and is_first_call:
                _write_last_use(table, digest, acting, now, of_predecessor=True)
            return verdict
        if is_first_call:
            busy = acting.tat is not None and acting.tat > now
            successor, spent = _spend_of_successor(table, old, busy=busy, is_read=is_read, now=now)
    # The key changed between both calls. Answer 503 rather than guess.
    raise Unavailable


def _spend(
    table: Table, digest: str, *, busy: bool, now: Micros
) -> tuple[Verdict | None, Credential | None]:
    """Try one of GCRA's two updates. No verdict means: valid, but the other update applies."""
    conflict: TransactionConflict | None = None
    for _ in _CONFLICTS.tries():
        try:
            credential = store.spend(table, digest, busy=busy, now=now)
        except store.NotAdmitted as refused:
            return _verdict_without_spending(refused.credential, now), refused.credential
        except TransactionConflict as conflicting:
            conflict = conflicting
            continue
        return Verdict(Code.VALID, credential, _state_after(credential, now)), credential
    raise Unavailable from conflict


def _spend_of_successor(
    table: Table, old: Credential, *, busy: bool, is_read: bool, now: Micros
) -> tuple[Credential | None, bool]:
    """Try one of GCRA's two updates for a key in its grace. Returns the successor's item.

    True: a request was spent. Otherwise the item says why not.
    """
    conflict: TransactionConflict | None = None
    for _ in _CONFLICTS.tries():
        try:
            spent = store.spend_as_predecessor(
                table,
                old.successor or "",
                predecessor=old.digest,
                busy=busy,
                unchanged=not is_read,
                now=now,
            )
        except store.NotAdmitted as refused:
            return refused.credential, False
        except TransactionConflict as conflicting:
            conflict = conflicting
            continue
        return spent, True
    raise Unavailable from conflict


def _state_after(credential: Credential, now: Micros) -> RateLimitState:
    if credential.rate_limit is None or credential.tat is None:
        raise ValueError("a request was spent of a key without a limit")
    return rules.state_after(credential.rate_limit, credential.tat, now)


def _verdict_without_spending(credential: Credential | None, now: Micros) -> Verdict | None:
    """Decide by the item alone; None if a request of its limit must be spent first."""
    if credential is None:
        return Verdict(Code.NOT_FOUND)
    code = rules.code_of(credential, now)
    if code is Code.VALID and credential.successor is not None:
        return None
    if code is not Code.VALID or credential.rate_limit is None:
        return Verdict(code, credential)
    if rules.is_over_limit(credential, now):
        return Verdict(Code.RATE_LIMITED, credential, rules.state_when_refused(credential, now))
    return None


def _write_last_use(
    table: Table, digest: str, credential: Credential, now: Micros, *, of_predecessor: bool = False
) -> None:
    """Write an unlimited key's last use, at most once a minute."""
    if rules.is_last_use_stale(credential, now):
        # The verdict comes from a consistent read and does not depend on this write.
        with contextlib.suppress(ConditionFailed, TransactionConflict, Unavailable):
            store.write_last_use(table, digest, now, of_predecessor=of_predecessor)
