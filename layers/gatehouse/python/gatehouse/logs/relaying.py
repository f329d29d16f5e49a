"""The relay: a backlog for a new viewer, pushed lines to all of them, polls until a push comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatehouse import aws
from gatehouse.clock import Micros
from gatehouse.logs import filters, reading, rules, sockets, store, watches
from gatehouse.logs.model import CatchUp, Line, Millis, Open, Poll, Pushed, Task, Viewer, Watch
from gatehouse.logs.sockets import Gone, Stuck
from gatehouse.observe import logger
from gatehouse.queue import Outgoing, Queue
from gatehouse.table import Table

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

Sockets = sockets.Sockets

read = rules.read
pushed = rules.pushed

_SIDE_BY_SIDE = 32
_NOT_OPEN_YET = 5.0  # seconds for which a new socket may say that it is gone
_TICK = 0.05
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
    watch = watches.read(relay.table, batch.group)
    if watch is None or not watch.viewers:
        return 0
    lines = list(batch.lines)
    if watch.delivered_at is None and watch.filter in batch.filters:
        lines = _first(relay, watch, lines)
    return _give(relay, store.viewers(relay.table, batch.group), lines)


def _first(relay: Relay, watch: Watch, lines: list[Line]) -> list[Line]:
    """Add what was written since the last poll, and before the filter was there."""
    at = lines[0].at
    if not watches.has_delivered(relay.table, watch.group, name=watch.filter, at=at):
        return lines
    found, _ = reading.since(relay.logs, watch.group, start=rules.poll_from(watch))
    known = {*watch.seen, *(line.id for line in lines)}
    lines = rules.in_order([*(one for one in found if one.id not in known), *lines])
    seen = rules.remembered(watch.seen, lines, cursor=watch.cursor)
    watches.has_sent(relay.table, watch.group, name=watch.filter, seen=seen)
    return lines


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
    seen = watches.read(relay.table, task.group)
    if seen is None:
        return 0
    watch = filters.ensure(relay.table, relay.logs, seen, to=relay.own_arn, now=relay.now())
    started = relay.millis()
    if viewer.wanted.since is None:
        count = viewer.wanted.lines
        lines, older = reading.newest(relay.logs, task.group, count=count, now=started)
    else:
        lines, older = _since(relay, task, viewer.wanted.since)
    given = _backlog(relay, viewer, lines, watch=watch, older=older)
    if given is None:
        return 0
    late = started - rules.SLACK
    known = rules.remembered([], given, cursor=started)
    if rules.is_poll_needed(watch, relay.now()) and not watch.polling:
        turn = watches.begin_polls(relay.table, watch, cursor=started, known=known)
        if turn is not None:
            send(relay.queue, Poll(task.group, turn), delay=rules.POLL_EVERY)
    if viewer.wanted.since is None:
        # Lines before the oldest one shown were not asked for.
        late = max(late, lines[0].at) if lines else (late if viewer.wanted.lines else started)
    again = CatchUp(task.group, task.connection, late, started, known)
    send(relay.queue, again, delay=_CATCH_UP)
    return len(lines)


def _since(relay: Relay, task: Open, start: Millis) -> tuple[list[Line], bool]:
    """Read all from a moment on, a little more at its beginning: lines turn up late."""
    found: dict[str, Line] = {}
    more, start = True, start - rules.SLACK
    while more and len(found) < rules.MOST_RESUMED:
        lines, more = reading.since(relay.logs, task.group, start=start)
        before = len(found)
        found |= {line.id: line for line in lines}
        if len(found) == before:
            break
        start = lines[-1].at
    return rules.in_order(found.values()), more


def _backlog(
    relay: Relay, viewer: Viewer, lines: Sequence[Line], *, watch: Watch, older: bool
) -> list[Line] | None:
    """Send a viewer its backlog, then what was held back meanwhile; then let it live.

    Give what it was sent, None where it has left.
    """
    said = []
    if viewer.wanted.since is not None and older:
        said.append(rules.notice(_MORE))
    if watch.refused:
        said.append(rules.notice(_LATE))
    frames = [*rules.frames(viewer.service, lines), *said]
    if not _reach(relay, viewer, frames or [rules.frame_of_none(viewer.service)]):
        return None
    given = {line.id: line for line in lines}
    number = 0
    while not store.let_live(relay.table, viewer, held=number):
        batches = store.held(relay.table, viewer.id, first=number)
        if not batches:
            return None
        number += len(batches)
        fresh = {one.id: one for batch in batches for one in batch if one.id not in given}
        given |= fresh
        if not _post(relay, viewer, rules.frames(viewer.service, rules.in_order(fresh.values()))):
            return None
    store.drop_held(relay.table, viewer.id)
    return list(given.values())


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
    watch = watches.take_turn(relay.table, task.group, turn=task.turn, now=relay.now())
    if watch is None:
        return 0
    following = Poll(task.group, task.turn + 1)
    if watch.delivered_at is not None and relay.millis() < watch.delivered_at + rules.SLACK:
        # What is older than the filter's first line is looked for once more, when it can be found.
        send(relay.queue, following, delay=rules.SLACK // 1000)
        return 0
    watch = filters.ensure(relay.table, relay.logs, watch, to=relay.own_arn, now=relay.now())
    going_on = rules.is_poll_needed(watch, relay.now())
    lines, cursor, more = _new(relay, watch)
    if lines:
        _give(relay, store.viewers(relay.table, task.group), lines)
    seen = rules.remembered(watch.seen, lines, cursor=cursor)
    kept = watches.end_turn(
        relay.table, task.group, turn=following.turn, cursor=cursor, seen=seen, going_on=going_on
    )
    if kept and going_on:
        send(relay.queue, following, delay=0 if more else rules.POLL_EVERY)
    return len(lines)


def _new(relay: Relay, watch: Watch) -> tuple[list[Line], Millis, bool]:
    """Read what a chain of polls has not sent, up to when it has read, and if there is more."""
    if not watch.viewers:
        return [], watch.cursor, False
    started = relay.millis()
    until = None if watch.delivered_at is None else watch.delivered_at - 1
    try:
        found, more = reading.since(
            relay.logs, watch.group, start=rules.poll_from(watch), until=until
        )
    except aws.Failed as failed:
        logger.warning("poll_failed", log_group=watch.group, reason=failed.code)
        return [], watch.cursor, False
    known = set(watch.seen)
    lines = [line for line in found if line.id not in known]
    return lines, found[-1].at if more else started, more


def _catch_up(relay: Relay, task: CatchUp) -> int:
    viewer = store.viewer(relay.table, task.group, task.connection)
    if viewer is None:
        return 0
    found, _ = reading.since(relay.logs, task.group, start=task.since, until=task.until)
    known = set(task.known)
    # What was written after the backlog was read has been pushed, or polled.
    lines = [line for line in found if line.id not in known]
    _give(relay, [viewer], lines)
    return len(lines)


def _give(relay: Relay, viewers: Sequence[Viewer], lines: Sequence[Line]) -> int:
    """Send lines to viewers side by side; say to how many. Whoever is slow holds up nobody."""
    if not lines or not viewers:
        return 0
    frames = {
        name: list(rules.frames(name, lines)) for name in {viewer.service for viewer in viewers}
    }

    def one(viewer: Viewer) -> bool:
        if not viewer.live and store.hold(relay.table, viewer, lines, number=viewer.held):
            return True
        return _post(relay, viewer, frames[viewer.service])

    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(viewers))) as pool:
        return sum(pool.map(one, viewers))


def _post(relay: Relay, viewer: Viewer, frames: Iterable[str]) -> bool:
    try:
        for frame in frames:
            relay.sockets.post(viewer.id, frame)
    except Gone:
        _lost(relay, viewer)
        return False
    except Stuck as stuck:
        _drop(relay, viewer, str(stuck))
        return False
    return True


def _lost(relay: Relay, viewer: Viewer) -> None:
    store.leave(relay.table, viewer, now=relay.now())
    store.drop_held(relay.table, viewer.id)


def _drop(relay: Relay, viewer: Viewer, why: str) -> None:
    """Close a socket that lost lines: connected again with `since`, it loses none."""
    logger.warning("viewer_dropped", connection_id=viewer.id, reason=why)
    end(relay.sockets, viewer, reason=_DROPPED)
    _lost(relay, viewer)


def end(sockets: Sockets, viewer: Viewer, *, reason: str) -> None:
    """Say farewell, and close. What cannot be reached is closed as far as it goes."""
    acts: tuple[Callable[[], None], ...] = (
        lambda: sockets.post(viewer.id, rules.farewell(reason)),
        lambda: sockets.close(viewer.id),
    )
    for act in acts:
        try:
            act()
        except (Gone, Stuck) as failed:
            logger.info("not_reached", connection_id=viewer.id, reason=type(failed).__name__)
