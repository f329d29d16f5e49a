"""The function `log-relay`: pushes of CloudWatch Logs and batches of tasks."""

from __future__ import annotations

import base64
import gzip
import io
import json
import uuid
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from gatehouse.logs import message_rules, store
from gatehouse.logs.adapters.sockets import ConnectionGone, Sockets
from gatehouse.logs.model import BacklogRequest, Open, Poll, Viewer
from support.aws import invocation
from support.aws.faults import error, wire
from support.worlds.held_clock import HeldClock

GROUP = "/aws/lambda/orders"

pytestmark = pytest.mark.usefixtures("relay_queue", "held")


class Context(invocation.Context):
    def __init__(self) -> None:
        super().__init__()
        self.invoked_function_arn += ":live"
        self.log_group_name = "/aws/lambda/the-relay"


@pytest.fixture(scope="module")
def relay(stack: Tables, aws: pytest.MonkeyPatch) -> ModuleType:
    del stack, aws
    return invocation.load("log_relay")


@pytest.fixture(autouse=True)
def _relay_first(relay_queue: str) -> None:
    del relay_queue


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """The frames of each socket. Ids that begin with `gone` are closed, which moto lacks."""
    got: dict[str, list[dict[str, Any]]] = {}

    def post(_: Sockets, connection: str, frame: str) -> None:
        if connection.startswith("gone"):
            raise ConnectionGone
        got.setdefault(connection, []).append(json.loads(frame))

    monkeypatch.setattr(Sockets, "post", post)
    return got


@pytest.fixture
def viewer(stack: Tables, held: HeldClock) -> Iterator[Viewer]:
    """A viewer that is live: its backlog was sent."""
    one = _viewer("one", held)
    store.add_viewer(stack.main, one)
    assert store.set_live(stack.main, one, held=0)
    yield one
    store.remove_viewer(stack.main, one, now=held.at)


def _viewer(name: str, held: HeldClock, *, group: str = GROUP) -> Viewer:
    return Viewer(name, group, "orders", "a", "k", "d", BacklogRequest(), held.at, held.at)


def push(
    *messages: str, group: str = GROUP, kind: str = "DATA_MESSAGE", at: int = 1_795_253_400_123
) -> dict[str, Any]:
    """Make the event of a push of CloudWatch Logs."""
    said = {
        "messageType": kind,
        "owner": "123456789012",
        "logGroup": group,
        "logStream": "2026/11/21/[$LATEST]0",
        "subscriptionFilters": ["gatehouse-0000"],
        "logEvents": [
            {"id": str(number), "timestamp": at, "message": text}
            for number, text in enumerate(messages)
        ],
    }
    packed = base64.b64encode(gzip.compress(json.dumps(said).encode())).decode()
    return {"awslogs": {"data": packed}}


def batch(*bodies: str) -> dict[str, Any]:
    """Make the event of a batch of queue messages."""
    record = {
        "receiptHandle": "AQEB",
        "attributes": {
            "ApproximateReceiveCount": "2",
            "SentTimestamp": "1795253400000",
            "SenderId": "AROA",
            "ApproximateFirstReceiveTimestamp": "1795253400001",
        },
        "messageAttributes": {},
        "md5OfBody": "0" * 32,
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:relay",
        "awsRegion": "us-east-1",
    }
    return {
        "Records": [
            {**record, "messageId": f"m{number}", "body": body}
            for number, body in enumerate(bodies)
        ]
    }


# ---- Pushes --------------------------------------------------------------------------------------


def test_pushed_lines_are_sent_to_live_viewers(
    relay: ModuleType, sent: dict[str, Any], viewer: Viewer, logs: io.StringIO
) -> None:
    answer = relay.handler(push("order 1 shipped\n", "order 2 shipped\n"), Context())
    assert answer == {"viewers": 1}
    [frame] = sent[viewer.id]
    assert (frame["type"], frame["service"]) == ("log", "orders")
    assert [line["message"] for line in frame["lines"]] == ["order 1 shipped", "order 2 shipped"]
    assert {line["timestamp"] for line in frame["lines"]} == {"2026-11-21T09:30:00.123Z"}
    written = [json.loads(line) for line in logs.getvalue().splitlines()]
    [told] = [line for line in written if line.get("message") == "pushed"]
    assert (told["log_group"], told["lines"], told["viewers"]) == (GROUP, 2, 1)
    assert "shipped" not in logs.getvalue(), "no line of a service is logged by the relay"


def test_control_messages_and_groups_without_viewers_are_ignored(
    relay: ModuleType, sent: dict[str, Any], viewer: Viewer
) -> None:
    del viewer
    assert relay.handler(push("x", kind="CONTROL_MESSAGE"), Context()) == {"viewers": 0}
    assert relay.handler(push("x", group="/other"), Context()) == {"viewers": 0}
    assert sent == {}


def test_the_relay_does_not_send_lines_of_its_own_log_group(
    relay: ModuleType, sent: dict[str, Any], stack: Tables, held: HeldClock
) -> None:
    own = _viewer("own", held, group=Context().log_group_name)
    store.add_viewer(stack.main, own)
    store.set_live(stack.main, own, held=0)
    assert relay.handler(push("x", group=own.group), Context()) == {"viewers": 0}
    assert sent == {}
    store.remove_viewer(stack.main, own, now=held.at)


def test_a_closed_viewer_is_removed_and_others_get_their_lines(
    relay: ModuleType, sent: dict[str, Any], viewer: Viewer, stack: Tables, held: HeldClock
) -> None:
    gone = _viewer("gone", held)
    store.add_viewer(stack.main, gone)
    store.set_live(stack.main, gone, held=0)
    assert relay.handler(push("x"), Context()) == {"viewers": 1}
    assert list(sent) == [viewer.id]
    assert [one.id for one in store.list_viewers(stack.main, GROUP)] == [viewer.id]


@pytest.mark.parametrize("data", ["", "%%%", base64.b64encode(b"x").decode()])
def test_an_invalid_push_raises(relay: ModuleType, data: str) -> None:
    with pytest.raises(ValueError, match="must be a message of CloudWatch Logs"):
        relay.handler({"awslogs": {"data": data}}, Context())


def test_a_failed_push_raises_and_succeeds_on_the_next_try(
    relay: ModuleType, sent: dict[str, Any], viewer: Viewer, stack: Tables
) -> None:
    with wire(stack.main.client) as line:
        line.before = lambda *_: error("ThrottlingException")
        with pytest.raises(Exception, match=r".*"):
            relay.handler(push("x"), Context())
    assert sent == {}
    assert relay.handler(push("x"), Context()) == {"viewers": 1}
    assert sent[viewer.id]


# ---- Tasks ---------------------------------------------------------------------------------------


def test_only_the_failed_tasks_of_a_batch_are_returned(
    relay: ModuleType, viewer: Viewer, stack: Tables, logs: io.StringIO
) -> None:
    del viewer
    tasks = [
        message_rules.task_body(Open(GROUP, "nobody")),
        "not json",
        '{"do": "dance"}',
        message_rules.task_body(Poll(GROUP, 99)),
        message_rules.task_body(Open("/away", "one")),
    ]
    with wire(stack.main.client) as line:
        line.before = lambda number, _: error("ThrottlingException") if number >= 3 else None
        answer = relay.handler(batch(*tasks), Context())
    failed = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
    assert failed == ["m1", "m2", "m4"]
    written = [json.loads(line) for line in logs.getvalue().splitlines()]
    told = {line["message_id"]: line["message"] for line in written if "message_id" in line}
    assert told == {
        "m0": "open",
        "m1": "relay_bug",
        "m2": "relay_bug",
        "m3": "poll",
        "m4": "relay_unavailable",
    }
    assert {line["received"] for line in written if "message_id" in line} == {2}


def test_an_open_sends_the_backlog_and_puts_a_filter_without_alias(
    relay: ModuleType, sent: dict[str, Any], stack: Tables, held: HeldClock
) -> None:
    group = f"/app/{uuid.uuid4().hex}"
    client = clients.logs()
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName="s")
    client.put_log_events(
        logGroupName=group,
        logStreamName="s",
        logEvents=[{"timestamp": held.at // 1000, "message": "old"}],
    )
    one = _viewer("new", held, group=group)
    store.add_viewer(stack.main, one)
    with wire(client, service="cloudwatch-logs") as line:
        asked: list[dict[str, Any]] = []
        client.meta.events.register(
            "provide-client-params.cloudwatch-logs.PutSubscriptionFilter",
            lambda params, **_: asked.append(params),
        )
        assert relay.handler(batch(message_rules.task_body(Open(group, "new"))), Context()) == {
            "batchItemFailures": []
        }
        assert line.calls.count("PutSubscriptionFilter") == 1
    assert asked[0]["destinationArn"] == "arn:aws:lambda:us-east-1:123456789012:function:test"
    assert asked[0]["filterPattern"] == ""
    assert [line["message"] for line in sent["new"][0]["lines"]] == ["old"]
    # moto does not have this function, so it refuses the filter and the viewer gets a notice.
    assert sent["new"][1]["type"] == "notice"
    [there] = store.list_viewers(stack.main, group)
    assert there.live
    store.remove_viewer(stack.main, one, now=held.at)
