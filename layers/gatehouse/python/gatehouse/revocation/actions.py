"""Revoke a key, alone or with everything that it and its descendants made."""

from __future__ import annotations

import contextlib
import random
import time

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import GatehouseError, NotFound, Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Tables, TransactionCanceled, TransactionConflict, transact
from gatehouse.keys import actions as keys
from gatehouse.keys import descendants as families
from gatehouse.keys.model import Key
from gatehouse.revocation import store
from gatehouse.revocation.cascade import Descent
from gatehouse.revocation.model import Cascade, Revoked

# Seconds after which a request ends nothing more, and the sweeper continues.
_LONGEST = 10.0
# Seconds that a sweep takes for all that requests left: it has other duties in its minute.
_LONGEST_SWEEP = 15.0
# The request that wrote a marker is over when it is this old.
_REQUEST_OVER = MINUTE


def revoke(tables: Tables, call: Call, key_id: str, *, descendants: bool) -> Revoked:
    """Revoke a key, with or without its descendants and what they made.

    With them the key may be revoked already. Raises NotFound if nothing is left to end. If the time
    is over before everything has ended, the answer says `more`, and the sweeper ends the rest.
    """
    if not descendants:
        key = keys.revoke(tables, call, key_id)
        return Revoked(key, live_descendants=families.count_live(tables, call, key_id))
    root, is_revoked = keys.find_to_end(tables, call, key_id)
    cascade = Cascade(key_id, call)
    _mark(tables, cascade)
    if not is_revoked:
        root = _revoke_root(tables, call, root, cascade)
    revoked = _run(tables, cascade, root, until=time.monotonic() + _LONGEST)
    if is_revoked and not revoked.ended and not revoked.more:
        raise keys.not_found()
    return revoked


def sweep(tables: Tables, *, now: Micros) -> int:
    """Continue revocations that a request left. Returns how many keys and things ended.

    They take turns in another order each time; what is left is for the next sweep. One that fails
    does not stop the others; its error is raised at the end.
    """
    until = time.monotonic() + _LONGEST_SWEEP
    pending = store.list_pending(tables.main, until=now - _REQUEST_OVER, now=now)
    random.shuffle(pending)
    ended = 0
    failed: GatehouseError | None = None
    for cascade in pending:
        try:
            ended += _continue(tables, cascade, until=until)
        except GatehouseError as error:
            failed = error
        if time.monotonic() > until:
            break
    if failed is not None:
        raise failed
    return ended


def _continue(tables: Tables, cascade: Cascade, *, until: float) -> int:
    root, is_revoked = keys.find_to_end(tables, cascade.call, cascade.key_id)
    if not is_revoked:  # the request died before that
        root = keys.revoke(tables, cascade.call, cascade.key_id)
    return len(_run(tables, cascade, root, until=until).ended)


def _revoke_root(tables: Tables, call: Call, root: Key, cascade: Cascade) -> Key:
    """Revoke the key itself, or forget the cascade: the answer says that nothing was done."""
    try:
        return keys.revoke(tables, call, root.id)
    except (NotFound, Unavailable):
        _forget(tables, cascade)
        raise


def _run(tables: Tables, cascade: Cascade, root: Key, *, until: float) -> Revoked:
    ending = Descent(tables, cascade.call, root, until=until)
    try:
        ending.end_everything()
        live, changed = ending.list_live_members(), ending.list_changed()
    except (families.OutOfTime, Unavailable) as left:
        logger.warning(
            "revocation_continues",
            key_id=root.id,
            ended=len(ending.ended),
            reason=type(left).__name__,
        )
        return Revoked(root, tuple(ending.ended), more=True)
    _forget(tables, cascade)
    return Revoked(root, tuple(ending.ended), live_identities=live, changed=changed)


def _mark(tables: Tables, cascade: Cascade) -> None:
    """Write the marker. Raises Unavailable."""
    conflict: Exception | None = None
    for _ in ON_CHANGE.tries():
        try:
            return transact(tables.main.client, [store.put(tables.main, cascade)])
        except (TransactionCanceled, TransactionConflict) as met:  # the same request, twice
            conflict = met
    raise Unavailable from conflict


def _forget(tables: Tables, cascade: Cascade) -> None:
    """Delete the marker. If that fails, the sweeper finds that nothing is left, and deletes it."""
    with contextlib.suppress(TransactionCanceled, TransactionConflict, Unavailable):
        transact(tables.main.client, [store.delete(tables.main, cascade)])
