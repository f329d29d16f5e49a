"""What the sweeper does for live logs each minute: pings, ends, and filters without viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gatehouse.aws import control_plane
from gatehouse.core.clock import Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import logger
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code, Credential, Verdict
from gatehouse.dynamo.table import Tables
from gatehouse.logs import rules, store, subscription, watch_store
from gatehouse.logs.adapters.sockets import Gone, Stuck
from gatehouse.logs.model import Open, Poll, Viewer, Watch
from gatehouse.logs.relay import Relay, send
from gatehouse.policy.actions import managing

_SIDE_BY_SIDE = 16
_KEY_ENDED = "The key may not look at this any more"


@dataclass(frozen=True, slots=True)
class Swept:
    """How many sockets were pinged and closed, and how many filters were taken away."""

    pinged: int = 0
    closed: int = 0
    filters: int = 0


def sweep(tables: Tables, relay: Relay) -> Swept:
    """Look after every watched group. A group that fails holds up no other; its error is raised."""
    done = Swept()
    failed: GatehouseError | None = None
    for watch in watch_store.listed(tables.main):
        try:
            one = _group(tables, relay, watch)
        except GatehouseError as error:
            failed = error
            continue
        done = Swept(done.pinged + one.pinged, done.closed + one.closed, done.filters + one.filters)
    if failed is not None:
        raise failed
    return done


def _group(tables: Tables, relay: Relay, watch: Watch) -> Swept:
    now = relay.now()
    viewers = store.viewers(tables.main, watch.group)
    known = credentials.find_many(tables, [viewer.digest for viewer in viewers])
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        done = list(pool.map(lambda one: _viewer(relay, one, known, now), viewers))
    if rules.is_chain_due(watch, now):
        _poll_again(relay, watch, now)
    gone = _idle(relay, watch, now)
    return Swept(done.count("pinged"), done.count("closed"), gone)


def _viewer(
    relay: Relay, viewer: Viewer, known: Mapping[str, Credential], now: Micros
) -> str | None:
    reason = rules.overdue(viewer, now)
    if not may_look(known.get(viewer.digest), now):
        reason = _KEY_ENDED
    if reason is not None:
        relay.sockets.end(viewer.id, rules.farewell(reason))
        store.leave(relay.table, viewer, now=now)
        store.drop_held(relay.table, viewer.id)
        return "closed"
    if not viewer.live and now - viewer.opened_at >= rules.UNOPENED:
        # Its message was lost, or its backlog failed again and again.
        send(relay.queue, Open(viewer.group, viewer.id))
    if now - viewer.pinged_at < rules.PING_EVERY:
        return None
    try:
        relay.sockets.post(viewer.id, rules.PING)
    except Gone:
        store.leave(relay.table, viewer, now=now)
        store.drop_held(relay.table, viewer.id)
        return "closed"
    except Stuck as stuck:
        logger.warning("ping_failed", connection_id=viewer.id, reason=str(stuck))
        return None
    store.pinged(relay.table, viewer, now=now)
    return "pinged"


def may_look(known: Credential | None, now: Micros) -> bool:
    """Tell whether a socket's key would be let in now, its rate limit left aside."""
    if known is None or credentials.code_of(known, now) is not Code.VALID:
        return False
    try:
        LOOKING(Verdict(Code.VALID, known).principal())
    except GatehouseError:
        return False
    return True


LOOKING: Callable[..., None] = managing("services:read")


def _poll_again(relay: Relay, watch: Watch, now: Micros) -> None:
    turn = watch_store.begin_polls(
        relay.table,
        watch,
        since=watch.since,
        cursor=rules.resumed_from(watch, now),
        seen=watch.seen,
        now=now,
    )
    if turn is not None:
        send(relay.queue, Poll(watch.group, turn))


def _idle(relay: Relay, watch: Watch, now: Micros) -> int:
    if rules.is_idle(watch, now) and watch.filter:
        if not watch_store.retire_filter(relay.table, watch):
            return 0
        again = watch_store.read(relay.table, watch.group)
        if again is None:
            return 0
        watch = again
    taken: Sequence[str] = watch.retiring
    if taken:
        try:
            subscription.take_away(relay.table, relay.logs, watch)
        except control_plane.ControlPlaneError as failed:
            logger.warning("filter_stays", log_group=watch.group, reason=failed.code)
            return 0
    if rules.is_idle(watch, now):
        watch_store.forget(relay.table, watch.group)
    return len(taken)
