"""Idempotency-Key: a repeated request never creates a second thing.

The record is written in the transaction of the change, so neither exists without the other. It
expires after 24 h; TTL deletes late, so readers check the time themselves. An answer without a
secret is stored and returned again; an answer with a secret is never stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from gatehouse.core.clock import DAY, SECOND, Micros
from gatehouse.core.errors import BadInput, IdempotencyReused, Unavailable
from gatehouse.core.request import Answered, Guard
from gatehouse.core.retry import Backoff
from gatehouse.core.text import is_plain
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import (
    ConditionFailed,
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)

_MAX_LENGTH = 255
_CONFLICTS = Backoff(6, first=0.02)


class Replay(Exception):
    """The request was done before; `answer` is its first answer. Not a failure."""

    def __init__(self, answer: Answered) -> None:
        super().__init__(f"answered before: {answer.status}")
        self.answer = answer


def guard(
    header: str | None,
    *,
    account: str,
    identity: str,
    method: str,
    path: str,
    body: bytes,
    now: Micros,
) -> Guard | None:
    """Return the guard of a request with the header; None without it. Raises BadInput."""
    if header is None:
        return None
    if not header or len(header) > _MAX_LENGTH or not header.isascii() or not is_plain(header):
        raise BadInput(
            f"Idempotency-Key must be 1 to {_MAX_LENGTH} printable ASCII characters",
            details={"header": "Idempotency-Key"},
        )
    place = "\n".join((method, path, header))
    body_hash = hashlib.sha256(body).hexdigest()
    return Guard(_digest(account, identity, place), body_hash, now, place)


def sent_by(claim: Guard | None, *, account: str, identity: str) -> Guard | None:
    """Return the guard of a caller who proved in the request itself who it is."""
    if claim is None:
        return None
    return replace(claim, digest=_digest(account, identity, claim.place))


def check(table: Table, claim: Guard | None) -> None:
    """Raise IdempotencyReused, or Replay, when the key was used in the last 24 h."""
    if claim is None:
        return
    record = table.get(_key(claim))
    if record is not None and record["expires_at"] > claim.now:
        raise reused(claim, record)


def reused(claim: Guard, record: Item) -> IdempotencyReused | Replay:
    """Return what a repeat gets: the first answer, or the reason why it cannot get it."""
    if record["body_hash"] != claim.body_hash:
        return IdempotencyReused("Idempotency-Key was used with another body")
    if "answer" in record:
        return Replay(Answered(record["status"], record["answer"]))
    return IdempotencyReused(
        f"Already done: made {record['made']}. Its secret is not shown again",
        details={"id": record["made"]},
    )


def record(table: Table, claim: Guard, *, made: str, answer: Answered | None = None) -> Write:
    """Return the write of the record; `made` is the id of what the request created.

    `answer` is stored for repeats; None if it holds a secret.
    """
    expires_at = claim.now + DAY
    item: Item = {
        **_key(claim),
        "body_hash": claim.body_hash,
        "made": made,
        "expires_at": expires_at,
        "ttl": expires_at // SECOND,
    }
    if answer is not None:
        item |= {"status": answer.status, "answer": answer.text}
    return table.put(
        item,
        condition="attribute_not_exists(pk) OR expires_at <= :now",
        names={},
        values={":now": claim.now},
    )


def once(
    table: Table, writes: Sequence[Write], *, claim: Guard, made: str, answer: Answered
) -> None:
    """Make the writes and the record of their answer in one transaction.

    For changes without an audit event; the others use `audit.commit`. Retried with full jitter
    while another transaction writes the same items. Raises Replay or IdempotencyReused if the
    request was done before, ConditionFailed if a condition of `writes` fails, Unavailable.
    """
    every = [record(table, claim, made=made, answer=answer), *writes]
    conflict: Exception | None = None
    for _ in _CONFLICTS.tries():
        try:
            transact(table.client, every)
        except TransactionCanceled as canceled:
            if 0 in canceled.failed:
                raise reused(claim, canceled.failed[0] or {}) from canceled
            for item in canceled.failed.values():
                raise ConditionFailed(item) from canceled
            conflict = canceled
        except TransactionConflict as conflicting:
            conflict = conflicting
        else:
            return
    raise Unavailable from conflict


def _digest(account: str, identity: str, place: str) -> str:
    return hashlib.sha256(f"{account}\n{identity}\n{place}".encode()).hexdigest()


def _key(claim: Guard) -> dict[str, str]:
    return {"pk": keyspace.IDEMPOTENCY.pk(claim.digest), "sk": "IDEMPOTENCY"}
