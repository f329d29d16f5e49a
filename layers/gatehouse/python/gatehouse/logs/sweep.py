"""Each minute: ping viewers, close sockets that must end, delete filters without viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gatehouse.aws import control_plane
from gatehouse.core.clock import Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import logger
from gatehouse.core.principal import SOCKET_SCOPE
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code, Credential, Verdict
from gatehouse.dynamo.table import Tables
from gatehouse.logs import frame_rules, held_store, polls, rules, store, subscription, watch_store
from gatehouse.logs.adapters.sockets import ConnectionGone, ConnectionStuck
from gatehouse.logs.broadcast import Relay, send_task
from gatehouse.logs.model import Open, Viewer, Watch
from gatehouse.policy.actions import managing

_SIDE_BY_SIDE = 16
_CHECK_ACCESS: Callable[..., None] = managing(SOCKET_SCOPE)
_KEY_REFUSED = "The key has no access to these logs any more."


@dataclass(frozen=True, slots=True)
class LogSweep:
    """How many sockets were pinged and closed, and how many filters were deleted."""

    pinged: int = 0
    closed: int = 0
    filters: int = 0


def sweep(tables: Tables, relay: Relay) -> LogSweep:
    """Sweep every watched group. After an error the other groups are swept; then it is raised."""
    done = LogSweep()
    failed: GatehouseError | None = None
    for watch in watch_store.list_all(tables.main):
        try:
            one = _sweep_group(tables, relay, watch)
        except GatehouseError as error:
            failed = error
            continue
        done = LogSweep(
            done.pinged + one.pinged, done.closed + one.closed, done.filters + one.filters
        )
    if failed is not None:
        raise failed
    return done


def _sweep_group(tables: Tables, relay: Relay, watch: Watch) -> LogSweep:
    now = relay.now()
    viewers = store.list_viewers(tables.main, watch.group)
    known = credentials.find_many(tables, [viewer.digest for viewer in viewers])
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        done = list(pool.map(lambda one: _sweep_viewer(relay, one, known, now), viewers))
    if rules.is_polling_due(watch, now):
        cursor = rules.resume_at(watch, now)
        polls.start(relay, watch, since=watch.since, cursor=cursor, seen=watch.seen, delay=0)
    deleted = _clean_up(relay, watch, now)
    return LogSweep(done.count("pinged"), done.count("closed"), deleted)


def _sweep_viewer(
    relay: Relay, viewer: Viewer, known: Mapping[str, Credential], now: Micros
) -> str | None:
    reason = rules.end_reason(viewer, now)
    if not may_watch(known.get(viewer.digest), now):
        reason = _KEY_REFUSED
    if reason is not None:
        relay.sockets.end(viewer.id, frame_rules.exit_frame(reason))
        store.remove_viewer(relay.table, viewer, now=now)
        held_store.delete_held(relay.table, viewer.id)
        return "closed"
    if not viewer.live and now - viewer.opened_at >= rules.BACKLOG_OVERDUE:
        # Its task was lost, or failed too often.
        send_task(relay.queue, Open(viewer.group, viewer.id))
    if now - viewer.pinged_at < rules.PING_EVERY:
        return None
    try:
        relay.sockets.post(viewer.id, frame_rules.PING)
    except ConnectionGone:
        store.remove_viewer(relay.table, viewer, now=now)
        held_store.delete_held(relay.table, viewer.id)
        return "closed"
    except ConnectionStuck as stuck:
        logger.warning("ping_failed", connection_id=viewer.id, reason=str(stuck))
        return None
    store.save_ping(relay.table, viewer, now=now)
    return "pinged"


def may_watch(known: Credential | None, now: Micros) -> bool:
    """Return whether the key of a socket could open one now, apart from its rate limit."""
    if known is None or credentials.code_of(known, now) is not Code.VALID:
        return False
    try:
        _CHECK_ACCESS(Verdict(Code.VALID, known).principal())
    except GatehouseError:
        return False
    return True


def _clean_up(relay: Relay, watch: Watch, now: Micros) -> int:
    if rules.is_idle(watch, now) and watch.filter:
        if not watch_store.retire_filter(relay.table, watch):
            return 0
        current = watch_store.find(relay.table, watch.group)
        if current is None:
            return 0
        watch = current
    if watch.retiring:
        try:
            subscription.delete_retired(relay.table, relay.logs, watch)
        except control_plane.ControlPlaneError as failed:
            logger.warning("filter_not_deleted", log_group=watch.group, reason=failed.code)
            return 0
    if rules.is_idle(watch, now):
        watch_store.delete_unused(relay.table, watch.group)
    return len(watch.retiring)
