"""The backlog: the lines that a new viewer receives before it becomes live."""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.logs import (
    frame_rules,
    held_store,
    history,
    line_rules,
    polls,
    rules,
    store,
    subscription,
    watch_store,
)
from gatehouse.logs.broadcast import (
    Relay,
    broadcast,
    delete_held,
    post,
    post_first,
    remove,
    send_task,
)
from gatehouse.logs.model import CatchUp, Line, Millis, Open, Viewer

CATCH_UP_AFTER = 10  # seconds: by then CloudWatch finds lines that were new when it was searched
_LATE = "CloudWatch rejected our subscription filter: new lines arrive a few seconds late."
_MORE = "More lines were written than are sent at once. Reconnect with ?since=<last id>."


def open_viewer(relay: Relay, task: Open) -> int:
    """Send a new viewer its backlog and make it live; return how many lines that were.

    The group gets a subscription filter, and is polled until the filter pushes.
    """
    viewer = store.find_viewer(relay.table, task.group, task.connection)
    if viewer is None or viewer.live:
        return 0
    watch = watch_store.find(relay.table, task.group)
    if watch is None:
        return 0
    started = relay.millis()
    # Before the filter is put: its first push reads from where the polls are.
    polls.start_for_viewer(relay, watch, viewer, at=started)
    watch = subscription.ensure_filter(
        relay.table, relay.logs, watch, to=relay.own_arn, now=relay.now()
    )
    lines, more = history.read_backlog(relay.logs, viewer, now=started)
    notices = [frame_rules.notice_frame(_LATE)] if watch.refused else []
    frames = [*frame_rules.log_frames(viewer.service, lines), *notices]
    if not post_first(relay, viewer, frames or [frame_rules.empty_frame(viewer.service)]):
        return 0
    if more:
        # If new lines followed, the next `since` would skip the ones between.
        relay.sockets.end(viewer.id, frame_rules.exit_frame(_MORE))
        remove(relay, viewer)
        return len(lines)
    oldest = rules.oldest_wanted(viewer, lines)
    since = min(max(started - rules.SEARCH_LAG, oldest), started)
    known = rules.ids_to_remember([], lines, cursor=started)
    # Sent before the viewer is live: a repeated Open does nothing for a live viewer.
    catch_up_task = CatchUp(task.group, task.connection, since, started, known)
    send_task(relay.queue, catch_up_task, delay=CATCH_UP_AFTER)
    _make_live(relay, viewer, lines, oldest=oldest)
    return len(lines)


def _make_live(relay: Relay, viewer: Viewer, lines: Sequence[Line], *, oldest: Millis) -> None:
    """Send a viewer the lines that were held while its backlog was sent, and make it live."""
    sent = {line.id for line in lines}
    number = 0
    while not store.set_live(relay.table, viewer, held=number):
        batches = held_store.read_held(relay.table, viewer.id, first=number)
        if not batches:
            return
        number += len(batches)
        new = [
            line
            for batch in batches
            for line in batch
            if line.id.partition(".")[0] not in sent and line.at >= oldest
        ]
        frames = frame_rules.log_frames(viewer.service, line_rules.by_time(new))
        if not post(relay, viewer, frames):
            return
    delete_held(relay, viewer)


def catch_up(relay: Relay, task: CatchUp) -> int:
    """Send lines that CloudWatch could not find when the backlog was read; return their number."""
    viewer = store.find_viewer(relay.table, task.group, task.connection)
    if viewer is None:
        return 0
    found, _ = history.read_all(
        relay.logs, task.group, start=task.since, until=task.until, most=rules.MOST_RESUMED
    )
    known = set(task.known)
    # Later lines are not searched for: they were pushed or polled.
    lines = [line for line in found if line.id not in known]
    broadcast(relay, [viewer], lines)
    return len(lines)
