"""The relay: a backlog for a new viewer, pushed lines to all of them, polls until a push comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatehouse.aws import control_plane
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.observe import logger
from gatehouse.dynamo.table import Table
from gatehouse.logs import history, rules, store, subscription, watch_store
from gatehouse.logs.adapters import sockets
from gatehouse.logs.adapters.sockets import Gone, Stuck
from gatehouse.logs.model import CatchUp, Line, Millis, Open, Poll, Pushed, Task, Viewer, Watch

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

Sockets = sockets.Sockets

read = rules.read
pushed_of = rules.pushed

_SIDE_BY_SIDE = 32
_NOT_OPEN_YET = 5.0  # seconds for which a new socket may say that it is gone
_TICK = 0.05
_PATIENCE = 20.0  # seconds in which a viewer takes all frames that are sent at once
_CATCH_UP = 10  # seconds: by then CloudWatch finds what was written when a backlog was read
_DROPPED = "The lines came faster than they were taken: connect again with since"
_LATE = (
    "CloudWatch gives this log group no subscription filter now: new lines come a few seconds late"
)
_MORE = "More was written since than is sent at once: connect again with since"


@dataclass(frozen=True, slots=True)
class Relay:
    """What the relay works with. `now` is read again and again: a task takes its time."""

    table: Table
    queue: Queue
    sockets: Sockets
    logs: CloudWatchLogsClient = field(repr=False)
    now: Callable[[], Micros]
    own_arn: str = ""  # that of the function which filters send to
    own_group: str = ""  # its log group, which is never watched

    def millis(self) -> Millis:
        """Read the clock as CloudWatch Logs does."""
        return self.now() // 1000


def send(queue: Queue, task: Task, *, delay: int = 0) -> None:
    """Ask for a task. Raises Unavailable."""
    queue.send([Outgoing(rules.write(task), task.group[:100], delay)])


def push(relay: Relay, batch: Pushed) -> int:
    """Give pushed lines to all who look at their group; say to how many.

    The first push of a filter also reads what was written since the last poll.
    """
    if batch.group == relay.own_group:
        # Each call would write lines that call it again, for ever.
        return 0
    watch = watch_store.read(relay.table, batch.group)
    if watch is None or not watch.viewers or not batch.lines:
        return 0
    viewers = store.viewers(relay.table, batch.group)
    if watch.delivered_at is None and watch.filter in batch.filters:
        return _first(relay, watch, viewers, batch.lines)
    return _give(relay, viewers, batch.lines)


def _first(relay: Relay, watch: Watch, viewers: Sequence[Viewer], lines: Sequence[Line]) -> int:
    """Give a filter's first lines, and what was written since the last poll.

    That is noted when it is done: whoever dies on the way leaves it to the push's repeat.
    """
    started = relay.millis()
    try:
        found, more = history.everything(
            relay.logs, watch.group, start=rules.poll_from(watch), most=rules.MOST_RESUMED
        )
    except control_plane.ControlPlaneError as failed:
        # The next push tries again, or the next poll does.
        logger.warning("gap_not_read", log_group=watch.group, reason=failed.code)
        return _give(relay, viewers, lines)
    known = {*watch.seen, *(line.id for line in lines)}
    lines = rules.in_order([*(one for one in found if one.id not in known), *lines])
    done = _give(relay, viewers, lines)
    cursor = min(found[-1].at, started) if more and found else started
    seen = rules.remembered(watch.seen, lines, cursor=cursor)
    if not watch.polling:
        # For a last look, when what could not be found yet can be, and for the rest of a long gap.
        _begin_chain(relay, watch, since=watch.since, cursor=cursor, seen=seen, delay=_CATCH_UP)
    watch_store.has_delivered(
        relay.table, watch.group, name=watch.filter, at=relay.millis(), cursor=cursor, seen=seen
    )
    return done


def work(relay: Relay, task: Task) -> int:
    """Do one task of the queue; say how many lines were found."""
    if isinstance(task, Open):
        return _open(relay, task)
    if isinstance(task, Poll):
        return _poll(relay, task)
    return _catch_up(relay, task)


def _open(relay: Relay, task: Open) -> int:
    viewer = store.viewer(relay.table, task.group, task.connection)
    if viewer is None or viewer.live:
        return 0
    seen = watch_store.read(relay.table, task.group)
    if seen is None:
        return 0
    started = relay.millis()
    # Before there is a filter: its first push reads from where the polls are.
    _begin_polls(relay, seen, viewer, at=started)
    watch = subscription.ensure(relay.table, relay.logs, seen, to=relay.own_arn, now=relay.now())
    lines, more = history.asked_for(relay.logs, viewer, now=started)
    said = [rules.notice(_LATE)] if watch.refused else []
    frames = [*rules.frames(viewer.service, lines), *said]
    if not _reach(relay, viewer, frames or [rules.frame_of_none(viewer.service)]):
        return 0
    if more:
        # New lines after these would hide what is between them from the next `since`.
        relay.sockets.end(viewer.id, rules.farewell(_MORE))
        _lost(relay, viewer)
        return len(lines)
    oldest = rules.oldest(viewer, lines)
    late = max(started - rules.SLACK, oldest)
    known = rules.remembered([], lines, cursor=started)
    # Asked for before it lives: an Open that comes again does nothing for who lives.
    again = CatchUp(task.group, task.connection, min(late, started), started, known)
    send(relay.queue, again, delay=_CATCH_UP)
    _let_live(relay, viewer, lines, oldest=oldest)
    return len(lines)


def _begin_polls(relay: Relay, watch: Watch, viewer: Viewer, *, at: Millis) -> None:
    """Poll from now on, unless that is done for others, or was begun for this viewer before."""
    begun_for_others = watch.viewers == 1 and watch.since < viewer.opened_at // 1000
    if not rules.is_poll_needed(watch, relay.now()) or (watch.polling and not begun_for_others):
        return
    since = max(at, viewer.opened_at // 1000)
    _begin_chain(relay, watch, since=since, cursor=since, seen=(), delay=rules.POLL_EVERY)


def _begin_chain(
    relay: Relay, watch: Watch, *, since: Millis, cursor: Millis, seen: Sequence[str], delay: int
) -> None:
    turn = watch_store.begin_polls(
        relay.table, watch, since=since, cursor=cursor, seen=seen, now=relay.now()
    )
    if turn is not None:
        send(relay.queue, Poll(watch.group, turn), delay=delay)


def _let_live(relay: Relay, viewer: Viewer, lines: Sequence[Line], *, oldest: Millis) -> None:
    """Send a viewer what was held back while it was sent its backlog; then let it live."""
    given = {line.id for line in lines}
    number = 0
    while not store.let_live(relay.table, viewer, held=number):
        batches = store.held(relay.table, viewer.id, first=number)
        if not batches:
            return
        number += len(batches)
        fresh = [
            one
            for batch in batches
            for one in batch
            if one.id.partition(".")[0] not in given and one.at >= oldest
        ]
        if not _post(relay, viewer, rules.frames(viewer.service, rules.in_order(fresh))):
            return
    _drop_held(relay, viewer)


def _reach(relay: Relay, viewer: Viewer, frames: Sequence[str]) -> bool:
    """Send the first frames to a socket that may be about to open just now."""
    until = time.monotonic() + _NOT_OPEN_YET
    while True:
        try:
            relay.sockets.post(viewer.id, frames[0])
        except Gone:
            if time.monotonic() > until:
                _lost(relay, viewer)
                return False
            time.sleep(_TICK)
        except Stuck as stuck:
            _drop(relay, viewer, str(stuck))
            return False
        else:
            return _post(relay, viewer, frames[1:])


def _poll(relay: Relay, task: Poll) -> int:
    watch = watch_store.take_turn(relay.table, task.group, turn=task.turn, now=relay.now())
    if watch is None:
        return 0
    following = Poll(task.group, task.turn + 1)
    if _is_last_look_early(relay, watch):
        # What is older than the filter's first push is looked for once more, when it can be found.
        send(relay.queue, following, delay=rules.SLACK // 1000)
        return 0
    watch = subscription.ensure(relay.table, relay.logs, watch, to=relay.own_arn, now=relay.now())
    lines, cursor, whole = _new(relay, watch)
    if lines:
        _give(relay, store.viewers(relay.table, task.group), lines)
    seen = rules.remembered(watch.seen, lines, cursor=cursor)
    going_on = (
        not whole or rules.is_poll_needed(watch, relay.now()) or _is_last_look_early(relay, watch)
    )
    kept = watch_store.end_turn(
        relay.table, task.group, turn=following.turn, cursor=cursor, seen=seen, going_on=going_on
    )
    if kept and going_on:
        send(relay.queue, following, delay=0 if lines and not whole else rules.POLL_EVERY)
    return len(lines)


def _is_last_look_early(relay: Relay, watch: Watch) -> bool:
    """Tell whether a filter delivers and lines from before it may still turn up."""
    return watch.delivered_at is not None and relay.millis() < watch.delivered_at + rules.SLACK


def _new(relay: Relay, watch: Watch) -> tuple[list[Line], Millis, bool]:
    """Read what a chain of polls has not sent, up to when it has read, and if that was all."""
    if not watch.viewers:
        return [], watch.cursor, True
    started, start = relay.millis(), rules.poll_from(watch)
    until = None if watch.delivered_at is None else watch.delivered_at - 1
    if until is not None and until < start:
        return [], watch.cursor, True
    try:
        found, more = history.everything(
            relay.logs, watch.group, start=start, until=until, most=rules.MOST_RESUMED
        )
    except control_plane.ControlPlaneError as failed:
        logger.warning("poll_failed", log_group=watch.group, reason=failed.code)
        return (
            [],
            watch.cursor,
            not isinstance(failed, control_plane.ControlPlaneBusy | control_plane.NoAnswer),
        )
    known = set(watch.seen)
    lines = [line for line in found if line.id not in known]
    if not more:
        return lines, started, True
    # A clock that is ahead of ours must not carry the cursor past what is yet to be written.
    return lines, min(found[-1].at, started) if found else watch.cursor, False


def _catch_up(relay: Relay, task: CatchUp) -> int:
    viewer = store.viewer(relay.table, task.group, task.connection)
    if viewer is None:
        return 0
    found, _ = history.everything(
        relay.logs, task.group, start=task.since, until=task.until, most=rules.MOST_RESUMED
    )
    known = set(task.known)
    # What was written after the backlog was read has been pushed, or polled.
    lines = [line for line in found if line.id not in known]
    _give(relay, [viewer], lines)
    return len(lines)


def _give(relay: Relay, viewers: Sequence[Viewer], lines: Sequence[Line]) -> int:
    """Send lines to viewers side by side; say to how many. Whoever is slow holds up nobody."""
    if not lines or not viewers:
        return 0
    parts = [part for line in lines for part in rules.divided(line)]
    frames = {
        name: list(rules.frames(name, parts)) for name in {viewer.service for viewer in viewers}
    }

    def one(viewer: Viewer) -> bool:
        if viewer.live:
            return _post(relay, viewer, frames[viewer.service])
        done = store.hold(relay.table, viewer, parts, now=relay.now())
        return _post(relay, viewer, rules.frames(viewer.service, parts[done:]))

    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(viewers))) as pool:
        return sum(pool.map(one, viewers))


def _post(relay: Relay, viewer: Viewer, frames: Iterable[str]) -> bool:
    until = time.monotonic() + _PATIENCE
    try:
        for frame in frames:
            if time.monotonic() > until:
                raise Stuck("too slow")  # noqa: TRY301 - told as any other that is stuck
            relay.sockets.post(viewer.id, frame)
    except Gone:
        _lost(relay, viewer)
        return False
    except Stuck as stuck:
        _drop(relay, viewer, str(stuck))
        return False
    return True


def _lost(relay: Relay, viewer: Viewer) -> None:
    """Let a viewer go. Where that fails the sweeper does it: the others get their lines."""
    try:
        store.leave(relay.table, viewer, now=relay.now())
    except Unavailable:
        logger.warning("viewer_stays", connection_id=viewer.id)
        return
    _drop_held(relay, viewer)


def _drop_held(relay: Relay, viewer: Viewer) -> None:
    try:
        store.drop_held(relay.table, viewer.id)
    except Unavailable:
        logger.warning("held_lines_stay", connection_id=viewer.id)  # their time to live ends them


def _drop(relay: Relay, viewer: Viewer, why: str) -> None:
    """Close a socket that lost lines: connected again with `since`, it loses none."""
    logger.warning("viewer_dropped", connection_id=viewer.id, reason=why)
    relay.sockets.end(viewer.id, rules.farewell(_DROPPED))
    _lost(relay, viewer)
