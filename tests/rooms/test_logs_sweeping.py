"""The sweep of live logs: pings, closed sockets, dead chains and unused filters."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.credentials import actions as credentials
from gatehouse.logs import store, watch_store
from gatehouse.logs.sweep import LogSweep
from support.worlds.live_logs import LiveLogs

NOTHING = LogSweep()


def live(live_logs: LiveLogs, *names: str) -> None:
    """Open sockets, wait until the filter delivers, and turn automatic sweeps off."""
    live_logs.sweeps = False
    for name in names:
        live_logs.connect(name, lines=0)
    live_logs.run(1)
    live_logs.write("first")
    live_logs.run(19)


def kinds(live_logs: LiveLogs, name: str) -> list[str]:
    return [frame["type"] for frame in live_logs.open_sockets.open[name]]


# ---- Viewers -------------------------------------------------------------------------------------


def test_a_viewer_is_pinged_every_five_minutes(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    pings = []
    for minute in range(16):
        live_logs.run(60)
        if live_logs.sweep().pinged:
            pings.append(minute)
    assert pings == [4, 9, 14]
    assert kinds(live_logs, "one").count("ping") == 3


def test_a_ping_is_due_after_exactly_five_minutes(live_logs: LiveLogs) -> None:
    opened = live_logs.held.at
    live(live_logs, "one")
    live_logs.held.at = opened + 5 * MINUTE - 1
    assert live_logs.sweep() == NOTHING
    live_logs.held.advance(micros=1)
    assert live_logs.sweep() == LogSweep(pinged=1)
    assert live_logs.sweep() == NOTHING


def test_a_ping_removes_gone_viewers_and_is_retried_for_throttled_ones(
    live_logs: LiveLogs,
) -> None:
    live(live_logs, "gone", "stuck")
    live_logs.open_sockets.open.pop("gone")
    live_logs.open_sockets.stuck.add("stuck")
    live_logs.run(300)
    assert live_logs.sweep() == LogSweep(closed=1)
    assert live_logs.counts() == (1, 1)
    live_logs.open_sockets.stuck.clear()
    assert live_logs.sweep() == LogSweep(pinged=1)


@pytest.mark.parametrize(
    "change",
    [
        {"en": {"BOOL": False}},
        {"rev": {"N": "1"}},
        {"exp": {"N": "1"}},
        {"over": {"BOOL": True}},
        {"mem": {"S": "suspended"}},
        {"adm": {"BOOL": False}, "claw": {"S": "employee"}},
        {"sc": {"L": [{"S": "agents:read"}]}},
        None,
    ],
)
def test_a_socket_is_closed_when_its_key_may_no_longer_read_logs(
    live_logs: LiveLogs, change: dict[str, object] | None
) -> None:
    ended = live_logs.make_key()
    live_logs.connect("ended", key=ended, lines=0)
    live(live_logs, "stays")
    assert live_logs.sweep() == NOTHING
    frames = live_logs.open_sockets.open["ended"]
    _change(live_logs, ended.digest, change)
    assert live_logs.sweep() == LogSweep(closed=1)
    assert frames[-1]["type"] == "exit"
    assert "key" in frames[-1]["reason"]
    assert live_logs.open_sockets.closed == ["ended"]
    assert live_logs.counts() == (1, 1)
    live_logs.write("after")
    live_logs.run(2)
    assert "after" in live_logs.messages("stays")


def _change(live_logs: LiveLogs, digest: str, change: dict[str, object] | None) -> None:
    client, name = live_logs.tables.keys.client, live_logs.tables.keys.name
    key = {"pk": {"S": f"KEY#{digest}"}}
    item = client.get_item(TableName=name, Key=key)["Item"]  # type: ignore[arg-type]
    if change is None:
        client.delete_item(TableName=name, Key=key)  # type: ignore[arg-type]
    else:
        client.put_item(TableName=name, Item={**item, **change})  # type: ignore[dict-item]


def test_a_socket_is_closed_two_minutes_before_api_gateway_s_limit(live_logs: LiveLogs) -> None:
    opened = live_logs.held.at
    live(live_logs, "one")
    frames = live_logs.open_sockets.open["one"]
    live_logs.held.at = opened + 118 * MINUTE - 1
    assert live_logs.sweep().closed == 0
    live_logs.held.advance(micros=1)
    assert live_logs.sweep() == LogSweep(closed=1)
    assert frames[-1] == {
        "type": "exit",
        "reason": "The socket reached its limit of two hours. Reconnect with ?since=<last id>.",
    }
    assert live_logs.counts() == (0, 0)


def test_a_lost_open_task_is_sent_again_after_a_minute(live_logs: LiveLogs) -> None:
    live_logs.sweeps = False
    live_logs.write("old")
    live_logs.connect("one")
    live_logs.tasks.clear()
    live_logs.held.advance(micros=MINUTE - 1)
    live_logs.sweep()
    assert live_logs.tasks == []
    live_logs.held.advance(micros=1)
    live_logs.sweep()
    live_logs.run(5)
    assert live_logs.messages("one") == ["old"]
    live_logs.sweep()
    assert [body for _, body in live_logs.tasks if '"open"' in body] == []


def test_no_socket_is_closed_when_keys_cannot_be_read(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "one")

    def unavailable(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(credentials, "find_many", unavailable)
    with pytest.raises(Unavailable):
        live_logs.sweep()
    assert live_logs.counts() == (1, 1)


# ---- Polls ---------------------------------------------------------------------------------------


def test_a_dead_chain_of_polls_continues_where_it_stopped(live_logs: LiveLogs) -> None:
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    live_logs.sweeps = False
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    live_logs.tasks = [one for one in live_logs.tasks if '"poll"' not in one[1]]
    live_logs.write("while it was dead")
    live_logs.run(25)
    live_logs.sweep()
    assert not _polls(live_logs), "the chain may only be slow"
    live_logs.run(10)
    live_logs.sweep()
    assert len(_polls(live_logs)) == 1
    live_logs.sweep()
    assert len(_polls(live_logs)) == 1, "one chain"
    live_logs.run(1)
    assert live_logs.messages("one") == ["while it was dead"]


def _polls(live_logs: LiveLogs) -> list[str]:
    return [body for _, body in live_logs.tasks if '"poll"' in body]


def test_a_chain_that_ended_normally_is_not_restarted(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    for _ in range(5):
        live_logs.run(60)
        live_logs.sweep()
        assert _polls(live_logs) == []


# ---- Filters -------------------------------------------------------------------------------------


def test_a_filter_is_deleted_two_minutes_after_the_last_viewer(live_logs: LiveLogs) -> None:
    live(live_logs, "one", "two")
    live_logs.disconnect("one")
    live_logs.run(300)
    live_logs.sweep()
    live_logs.disconnect("two")
    left = live_logs.held.at
    live_logs.held.at = left + 2 * MINUTE - 1
    assert live_logs.sweep() == NOTHING
    assert len(live_logs.filters()) == 1
    live_logs.held.advance(micros=1)
    assert live_logs.sweep() == LogSweep(filters=1)
    assert live_logs.filters() == []
    assert live_logs.remaining_items() == []


def test_with_a_sweep_each_minute_a_filter_is_gone_in_three_minutes(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.swept_at, live_logs.sweeps = live_logs.held.at - 59 * SECOND, True
    live_logs.disconnect("one")
    live_logs.run(119)
    assert live_logs.filters()
    live_logs.run(61)
    assert live_logs.filters() == []


def test_a_viewer_that_returns_in_time_keeps_the_filter(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    [before] = live_logs.filters()
    live_logs.disconnect("one")
    live_logs.run(100)
    live_logs.connect("again", lines=0)
    live_logs.run(60)
    assert live_logs.sweep() == NOTHING
    assert live_logs.filters() == [before]
    live_logs.write("line")
    live_logs.run(2)
    assert live_logs.messages("again") == ["line"]


def test_a_viewer_that_connects_after_the_sweep_read_keeps_the_filter(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.disconnect("one")
    live_logs.run(121)
    seen = live_logs.watch()
    assert seen is not None
    live_logs.connect("again", lines=0)
    assert not watch_store.retire_filter(live_logs.table, seen)
    live_logs.disconnect("again")
    assert not watch_store.retire_filter(live_logs.table, seen), "a viewer left only now"


def test_a_viewer_that_connects_while_the_filter_is_deleted_gets_another(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "one")
    [before] = live_logs.filters()
    live_logs.disconnect("one")
    live_logs.run(121)
    delete = live_logs.cloudwatch.delete_subscription_filter

    def connect_and_delete(**request: str) -> object:
        live_logs.connect("new", lines=0)
        live_logs.run(1)
        return delete(**request)

    monkeypatch.setattr(live_logs.cloudwatch, "delete_subscription_filter", connect_and_delete)
    live_logs.sweep()
    [after] = live_logs.filters()
    assert after != before
    live_logs.write("line")
    live_logs.run(20)
    assert live_logs.messages("new") == ["line"]
    watch = live_logs.watch()
    assert watch is not None
    assert (watch.filter, watch.retiring) == (after, ())


def test_a_failed_filter_deletion_is_retried_and_its_item_stays(
    live_logs: LiveLogs,
) -> None:
    live(live_logs, "one")
    live_logs.disconnect("one")
    live_logs.run(121)
    live_logs.cloudwatch.refuses["delete_subscription_filter"] = "ThrottlingException"
    assert live_logs.sweep() == NOTHING
    watch = live_logs.watch()
    assert watch is not None
    assert watch.retiring
    live_logs.cloudwatch.refuses.clear()
    assert live_logs.sweep() == LogSweep(filters=1)
    assert live_logs.remaining_items() == []


@pytest.mark.parametrize("what", ["filter", "group"])
def test_a_filter_or_group_deleted_elsewhere_is_not_an_error(
    live_logs: LiveLogs, what: str
) -> None:
    live(live_logs, "one")
    [name] = live_logs.filters()
    live_logs.disconnect("one")
    client = live_logs.cloudwatch._real  # noqa: SLF001
    if what == "filter":
        client.delete_subscription_filter(logGroupName=live_logs.group, filterName=name)
    else:
        client.delete_log_group(logGroupName=live_logs.group)
    live_logs.run(121)
    live_logs.sweep()
    assert live_logs.remaining_items() == []


def test_a_watch_that_never_had_a_filter_is_deleted_too(live_logs: LiveLogs) -> None:
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    live_logs.disconnect("one")
    live_logs.run(4 * 60)
    assert live_logs.remaining_items() == []
    assert live_logs.tasks == []


def test_a_group_that_fails_does_not_stop_the_others(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "first")
    first = live_logs.group
    live_logs.use_service("zebra")
    live_logs.connect("second", lines=0)
    live_logs.run(300)
    viewers = store.list_viewers

    def unavailable(table: object, group: str) -> object:
        if group == first:
            raise Unavailable
        return viewers(table, group)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "list_viewers", unavailable)
        with pytest.raises(Unavailable):
            live_logs.sweep()
    assert kinds(live_logs, "second")[-1] == "ping"
    assert live_logs.sweep() == LogSweep(pinged=1)


def test_a_filter_that_may_not_be_deleted_keeps_its_item(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.disconnect("one")
    live_logs.cloudwatch.refuses["delete_subscription_filter"] = "AccessDeniedException"
    live_logs.run(200)
    assert live_logs.sweep() == NOTHING
    assert live_logs.sweep() == NOTHING
    assert live_logs.remaining_items() != []
    with pytest.raises(ClientError):
        live_logs.cloudwatch.delete_subscription_filter(
            logGroupName=live_logs.group, filterName=live_logs.filters()[0]
        )
