"""Judge a credential: at most two table calls, one for a warm key."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.credentials import rules, store
from gatehouse.credentials.model import Code, Credential, Fresh, Owner, Verdict
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict

# What other rooms ask and write in their own transactions.
issue = store.issue
revoke = store.revoke
amend = store.amend
cut = store.cut
last_uses = store.last_uses
known = store.known
standing = rules.standing
presented = rules.presented
digest = rules.digest

UNLIMITED = -1
_CONFLICT_TRIES = 5
_CONFLICT_WAIT = 0.015  # seconds: the four waits stay within 60 ms


class Memory:
    """What an environment remembers of the keys it saw: the last `tat`, or UNLIMITED.

    A hint to begin with the likelier call, never a verdict. `tat` only grows, so a remembered
    one in the future is always right: the key is still busy.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: OrderedDict[str, int] = OrderedDict()

    def recall(self, digest: str) -> int | None:
        """Give back what was noted last, None for a key not seen or forgotten."""
        return self._seen.get(digest)

    def note(self, known: Credential) -> None:
        """Remember; the key noted longest ago goes when there are too many."""
        hint = UNLIMITED if known.rate_limit is None else known.tat
        if hint is None:
            return
        self._seen[known.digest] = hint
        self._seen.move_to_end(known.digest)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)


def admit(table: Table, key: str, memory: Memory, now: Micros) -> Verdict:
    """Judge a presented key and spend one request of its limit when it passes.

    A malformed key is NOT_FOUND without a table call. Raises Unavailable when the table cannot
    be asked: a caller is never let through on a guess.
    """
    if not rules.is_well_formed(key):
        return Verdict(Code.NOT_FOUND)
    digest = rules.digest(key)
    hint = memory.recall(digest)
    calls = 2
    if hint == UNLIMITED:
        known = store.read(table, digest)
        calls -= 1
        verdict = _verdict_of_read(known, now)
    else:
        busy = hint is not None and hint > now
        verdict, known = _spend(table, digest, busy=busy, now=now)
        calls -= 1
    if verdict is None and known is not None:
        # The hint was wrong or old. The item that came with the refusal says what to do.
        busy = known.tat is not None and known.tat > now
        verdict, known = _spend(table, digest, busy=busy, now=now)
        calls -= 1
    if verdict is None:
        # Twice the key changed while we looked. Say so rather than guess.
        raise Unavailable
    if verdict.credential is not None:
        memory.note(verdict.credential)
        if calls and verdict.code is Code.VALID and verdict.limit_state is None:
            _note_use(table, verdict.credential, now)
    return verdict


def presented_on_socket(event: Mapping[str, Any]) -> str | None:
    """Take the credential of a WebSocket's first request: its headers, then its address."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    found = rules.presented(headers)
    if found is None:
        found = rules.presented_in_query(event.get("queryStringParameters") or {})
    return found


def mint(prefix: str) -> Fresh:
    """Make a key from the operating system's randomness. Writes nothing."""
    text = rules.write(prefix, secrets.token_bytes(rules.SECRET_BYTES))
    return Fresh(text, rules.digest(text), rules.shown_prefix(text))


def look_up(table: Table, key: str) -> Credential | None:
    """Read a presented key without spending anything; None when malformed or unknown."""
    return store.read(table, rules.digest(key)) if rules.is_well_formed(key) else None


def follow(table: Table, digest: str, *, owner: Owner) -> None:
    """Carry an identity's state into a key of it. Raises Unavailable while the key is busy."""
    for attempt in range(_CONFLICT_TRIES):
        try:
            return store.follow(table, digest, owner=owner)
        except TransactionConflict:
            # The key itself is being changed; botocore does not try that again.
            if attempt < _CONFLICT_TRIES - 1:
                _wait()
    raise Unavailable


def _wait() -> None:
    time.sleep(_CONFLICT_WAIT * random.uniform(0.5, 1))  # noqa: S311 - jitter


def _spend(
    table: Table, digest: str, *, busy: bool, now: Micros
) -> tuple[Verdict | None, Credential | None]:
    """Try one branch. No verdict means: live, limited, under the limit, but the other branch."""
    for attempt in range(_CONFLICT_TRIES):
        try:
            known = store.spend(table, digest, busy=busy, now=now)
        except store.Refused as refused:
            return _verdict_of_read(refused.known, now), refused.known
        except TransactionConflict:
            # A change of this very key is being committed; botocore does not try that again.
            if attempt < _CONFLICT_TRIES - 1:
                _wait()
            continue
        if known.rate_limit is None or known.tat is None:
            raise ValueError("the update passed on a key without a limit")
        state = rules.state_after(known.rate_limit, known.tat, now)
        return Verdict(Code.VALID, known, state), known
    raise Unavailable


def _verdict_of_read(known: Credential | None, now: Micros) -> Verdict | None:
    """Judge an item without writing; None when a request of its limit has yet to be spent."""
    if known is None:
        return Verdict(Code.NOT_FOUND)
    code = rules.standing(known, now)
    if code is not Code.VALID or known.rate_limit is None:
        return Verdict(code, known)
    if rules.is_over(known, now):
        return Verdict(Code.RATE_LIMITED, known, rules.state_refused(known, now))
    return None


def _note_use(table: Table, known: Credential, now: Micros) -> None:
    """Write an unlimited key's last use, at most once a minute."""
    if rules.is_use_stale(known, now):
        # The verdict stands on a consistent read; the time of use is a courtesy to the owner.
        with contextlib.suppress(ConditionFailed, TransactionConflict, Unavailable):
            store.touch(table, known.digest, now)
