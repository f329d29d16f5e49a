"""The sweeper's part of live logs, by a held clock."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.credentials import actions as credentials
from gatehouse.logs import store, watch_store
from gatehouse.logs.sweep import Swept
from support.worlds.live_logs import Lookout

NOTHING = Swept()


def live(lookout: Lookout, *names: str) -> None:
    """Open sockets, and let a filter deliver; nobody sweeps but the test."""
    lookout.sweeps = False
    for name in names:
        lookout.connect(name, lines=0)
    lookout.run(1)
    lookout.write("first")
    lookout.run(19)


def kinds(lookout: Lookout, name: str) -> list[str]:
    return [frame["type"] for frame in lookout.open_sockets.open[name]]


# ---- Viewers -------------------------------------------------------------------------------------


def test_a_viewer_is_pinged_every_five_minutes(lookout: Lookout) -> None:
    live(lookout, "one")
    pings = []
    for minute in range(16):
        lookout.run(60)
        if lookout.sweep().pinged:
            pings.append(minute)
    assert pings == [4, 9, 14]
    assert kinds(lookout, "one").count("ping") == 3


def test_a_ping_is_due_at_its_moment_and_not_before(lookout: Lookout) -> None:
    opened = lookout.held.at
    live(lookout, "one")
    lookout.held.at = opened + 5 * MINUTE - 1
    assert lookout.sweep() == NOTHING
    lookout.held.advance(micros=1)
    assert lookout.sweep() == Swept(pinged=1)
    assert lookout.sweep() == NOTHING


def test_who_is_gone_is_found_by_a_ping_and_who_is_stuck_is_pinged_again(
    lookout: Lookout,
) -> None:
    live(lookout, "gone", "stuck")
    lookout.open_sockets.open.pop("gone")
    lookout.open_sockets.stuck.add("stuck")
    lookout.run(300)
    assert lookout.sweep() == Swept(closed=1)
    assert lookout.counts() == (1, 1)
    lookout.open_sockets.stuck.clear()
    assert lookout.sweep() == Swept(pinged=1)


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
def test_a_socket_ends_with_its_key_s_right_to_look(
    lookout: Lookout, change: dict[str, object] | None
) -> None:
    ended = lookout.make_key()
    lookout.connect("ended", key=ended, lines=0)
    live(lookout, "stays")
    assert lookout.sweep() == NOTHING
    frames = lookout.open_sockets.open["ended"]
    _change(lookout, ended.digest, change)
    assert lookout.sweep() == Swept(closed=1)
    assert frames[-1]["type"] == "exit"
    assert "key" in frames[-1]["reason"]
    assert lookout.open_sockets.closed == ["ended"]
    assert lookout.counts() == (1, 1)
    lookout.write("after")
    lookout.run(2)
    assert "after" in lookout.messages("stays")


def _change(lookout: Lookout, digest: str, change: dict[str, object] | None) -> None:
    client, name = lookout.tables.keys.client, lookout.tables.keys.name
    key = {"pk": {"S": f"KEY#{digest}"}}
    item = client.get_item(TableName=name, Key=key)["Item"]  # type: ignore[arg-type]
    if change is None:
        client.delete_item(TableName=name, Key=key)  # type: ignore[arg-type]
    else:
        client.put_item(TableName=name, Item={**item, **change})  # type: ignore[dict-item]


def test_a_socket_is_closed_two_minutes_before_api_gateway_cuts_it(lookout: Lookout) -> None:
    opened = lookout.held.at
    live(lookout, "one")
    frames = lookout.open_sockets.open["one"]
    lookout.held.at = opened + 118 * MINUTE - 1
    assert lookout.sweep().closed == 0
    lookout.held.advance(micros=1)
    assert lookout.sweep() == Swept(closed=1)
    assert frames[-1] == {
        "type": "exit",
        "reason": "A socket lives two hours: connect again with since",
    }
    assert lookout.counts() == (0, 0)


def test_a_lost_open_is_sent_again_after_a_minute(lookout: Lookout) -> None:
    lookout.sweeps = False
    lookout.write("old")
    lookout.connect("one")
    lookout.tasks.clear()
    lookout.held.advance(micros=MINUTE - 1)
    lookout.sweep()
    assert lookout.tasks == []
    lookout.held.advance(micros=1)
    lookout.sweep()
    lookout.run(5)
    assert lookout.messages("one") == ["old"]
    lookout.sweep()
    assert [body for _, body in lookout.tasks if '"open"' in body] == []


def test_keys_that_cannot_be_read_end_no_socket(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lookout, "one")

    def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(credentials, "find_many", away)
    with pytest.raises(Unavailable):
        lookout.sweep()
    assert lookout.counts() == (1, 1)


# ---- Polls ---------------------------------------------------------------------------------------


def test_a_dead_chain_of_polls_goes_on_where_it_died(lookout: Lookout) -> None:
    lookout.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    lookout.sweeps = False
    lookout.connect("one", lines=0)
    lookout.run(5)
    lookout.tasks = [one for one in lookout.tasks if '"poll"' not in one[1]]
    lookout.write("while it was dead")
    lookout.run(25)
    lookout.sweep()
    assert not _polls(lookout), "it may be slow only"
    lookout.run(10)
    lookout.sweep()
    assert len(_polls(lookout)) == 1
    lookout.sweep()
    assert len(_polls(lookout)) == 1, "one chain"
    lookout.run(1)
    assert lookout.messages("one") == ["while it was dead"]


def _polls(lookout: Lookout) -> list[str]:
    return [body for _, body in lookout.tasks if '"poll"' in body]


def test_a_chain_that_has_ended_well_is_left_alone(lookout: Lookout) -> None:
    live(lookout, "one")
    for _ in range(5):
        lookout.run(60)
        lookout.sweep()
        assert _polls(lookout) == []


# ---- Filters -------------------------------------------------------------------------------------


def test_a_filter_is_taken_away_two_minutes_after_the_last_viewer(lookout: Lookout) -> None:
    live(lookout, "one", "two")
    lookout.disconnect("one")
    lookout.run(300)
    lookout.sweep()
    lookout.disconnect("two")
    left = lookout.held.at
    lookout.held.at = left + 2 * MINUTE - 1
    assert lookout.sweep() == NOTHING
    assert len(lookout.filters()) == 1
    lookout.held.advance(micros=1)
    assert lookout.sweep() == Swept(filters=1)
    assert lookout.filters() == []
    assert lookout.left() == []


def test_swept_each_minute_it_is_gone_within_four(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.swept_at, lookout.sweeps = lookout.held.at - 59 * SECOND, True
    lookout.disconnect("one")
    lookout.run(119)
    assert lookout.filters()
    lookout.run(61)
    assert lookout.filters() == []


def test_who_comes_again_in_time_keeps_the_filter(lookout: Lookout) -> None:
    live(lookout, "one")
    [before] = lookout.filters()
    lookout.disconnect("one")
    lookout.run(100)
    lookout.connect("again", lines=0)
    lookout.run(60)
    assert lookout.sweep() == NOTHING
    assert lookout.filters() == [before]
    lookout.write("line")
    lookout.run(2)
    assert lookout.messages("again") == ["line"]


def test_who_comes_after_the_sweeper_has_looked_keeps_the_filter(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.disconnect("one")
    lookout.run(121)
    seen = lookout.watch()
    assert seen is not None
    lookout.connect("again", lines=0)
    assert not watch_store.retire_filter(lookout.table, seen)
    lookout.disconnect("again")
    assert not watch_store.retire_filter(lookout.table, seen), "somebody was there a moment ago"


def test_who_comes_while_a_filter_is_being_taken_away_gets_another(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lookout, "one")
    [before] = lookout.filters()
    lookout.disconnect("one")
    lookout.run(121)
    delete = lookout.cloudwatch.delete_subscription_filter

    def somebody_comes(**request: str) -> object:
        lookout.connect("new", lines=0)
        lookout.run(1)
        return delete(**request)

    monkeypatch.setattr(lookout.cloudwatch, "delete_subscription_filter", somebody_comes)
    lookout.sweep()
    [after] = lookout.filters()
    assert after != before
    lookout.write("line")
    lookout.run(20)
    assert lookout.messages("new") == ["line"]
    watch = lookout.watch()
    assert watch is not None
    assert (watch.filter, watch.retiring) == (after, ())


def test_a_filter_that_cannot_be_deleted_is_tried_again_and_its_item_stays(
    lookout: Lookout,
) -> None:
    live(lookout, "one")
    lookout.disconnect("one")
    lookout.run(121)
    lookout.cloudwatch.refuses["delete_subscription_filter"] = "ThrottlingException"
    assert lookout.sweep() == NOTHING
    watch = lookout.watch()
    assert watch is not None
    assert watch.retiring
    lookout.cloudwatch.refuses.clear()
    assert lookout.sweep() == Swept(filters=1)
    assert lookout.left() == []


@pytest.mark.parametrize("what", ["filter", "group"])
def test_what_somebody_else_has_deleted_is_no_trouble(lookout: Lookout, what: str) -> None:
    live(lookout, "one")
    [name] = lookout.filters()
    lookout.disconnect("one")
    client = lookout.cloudwatch._real  # noqa: SLF001
    if what == "filter":
        client.delete_subscription_filter(logGroupName=lookout.group, filterName=name)
    else:
        client.delete_log_group(logGroupName=lookout.group)
    lookout.run(121)
    lookout.sweep()
    assert lookout.left() == []


def test_a_group_whose_filter_was_never_had_is_forgotten_too(lookout: Lookout) -> None:
    lookout.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    lookout.connect("one", lines=0)
    lookout.run(5)
    lookout.disconnect("one")
    lookout.run(4 * 60)
    assert lookout.left() == []
    assert lookout.tasks == []


def test_a_group_that_fails_holds_up_no_other(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lookout, "first")
    first = lookout.group
    lookout.turn_to("zebra")
    lookout.connect("second", lines=0)
    lookout.run(300)
    viewers = store.viewers

    def away(table: object, group: str) -> object:
        if group == first:
            raise Unavailable
        return viewers(table, group)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "viewers", away)
        with pytest.raises(Unavailable):
            lookout.sweep()
    assert kinds(lookout, "second")[-1] == "ping"
    assert lookout.sweep() == Swept(pinged=1)


def test_a_filter_that_aws_forbids_to_delete_is_not_forgotten(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.disconnect("one")
    lookout.cloudwatch.refuses["delete_subscription_filter"] = "AccessDeniedException"
    lookout.run(200)
    assert lookout.sweep() == NOTHING
    assert lookout.sweep() == NOTHING
    assert lookout.left() != []
    with pytest.raises(ClientError):
        lookout.cloudwatch.delete_subscription_filter(
            logGroupName=lookout.group, filterName=lookout.filters()[0]
        )
