"""Idempotency-Key: a repeat of a creating request never creates twice.

The record is put in the transaction of what it guards, so there is no moment at which one
exists without the other. It lives 24 h; TTL deletes late, so a reader checks the time itself.
An answer without a secret is kept in it and given again; one with a secret never is.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence

from gatehouse.core.clock import DAY, SECOND, Micros
from gatehouse.core.errors import BadInput, IdempotencyReused, Unavailable
from gatehouse.core.request import Answered, Guard
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

_LONGEST = 255
_TRIES = 6
_FIRST_WAIT = 0.02  # seconds, doubled each time, full jitter


class Replay(Exception):
    """The request was done before; `answer` is what it was told then. No failure."""

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
    """Read the header; None where there is none. BadInput when it is no usable key."""
    if header is None:
        return None
    if not header or len(header) > _LONGEST or not header.isascii() or not header.isprintable():
        raise BadInput(
            f"Idempotency-Key must be 1 to {_LONGEST} printable ASCII characters",
            details={"header": "Idempotency-Key"},
        )
    parts = "\n".join((account, identity, method, path, header))
    return Guard(hashlib.sha256(parts.encode()).hexdigest(), hashlib.sha256(body).hexdigest(), now)


def check(table: Table, claim: Guard | None) -> None:
    """Raise IdempotencyReused, or Replay, when the key was used in the last 24 h."""
    if claim is None:
        return
    record = table.get(_key(claim))
    if record is not None and record["expires_at"] > claim.now:
        raise reused(claim, record)


def reused(claim: Guard, record: Item) -> IdempotencyReused | Replay:
    """Tell what a repeat gets: the first answer, or why it cannot be given again."""
    if record["body_hash"] != claim.body_hash:
        return IdempotencyReused("Idempotency-Key was used with another body")
    if "answer" in record:
        return Replay(Answered(record["status"], record["answer"]))
    return IdempotencyReused(
        f"Already done: made {record['made']}. Its secret is not shown again",
        details={"id": record["made"]},
    )


def record(table: Table, claim: Guard, *, made: str, answer: Answered | None = None) -> Write:
    """Write down that the request is done; `made` is the id of what it made.

    `answer` is kept for repeats; None where it holds a secret.
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
    """Do the writes together with the record of their answer, or nothing.

    For what is no admin's change; that goes through `audit.commit`. Tried again with full jitter
    while a request like this one is under way. Raises Replay or IdempotencyReused where it was
    done before, ConditionFailed where one of `writes` does not hold, Unavailable.
    """
    every = [record(table, claim, made=made, answer=answer), *writes]
    for attempt in range(_TRIES):
        try:
            transact(table.client, every)
        except TransactionCanceled as canceled:
            if 0 in canceled.failed:
                raise reused(claim, canceled.failed[0] or {}) from canceled
            for item in canceled.failed.values():
                raise ConditionFailed(item) from canceled
        except TransactionConflict:
            pass
        else:
            return
        time.sleep(random.uniform(0, _FIRST_WAIT * 2**attempt))  # noqa: S311 - jitter
    raise Unavailable


def _key(claim: Guard) -> dict[str, str]:
    return {"pk": keyspace.IDEMPOTENCY.pk(claim.digest), "sk": "IDEMPOTENCY"}
