"""Sends signals to webhooks through every function, for the test of permissions."""

from __future__ import annotations

import json
import time

from gatehouse.aws import clients
from gatehouse.dynamo.table import Table
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Answer
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.queue_events import drain, waiting
from support.worlds.held_clock import HeldClock


def drive(front: Front, table: Table, key: str, *, queue: str, held: HeldClock) -> None:
    """Deliver, fail, give up, park, unpark, replay, recover, lose messages and sweep."""
    with Receiver() as receiver:
        receiver.on("/dead", Answer(500))
        receiver.on("/gone", Answer(410))
        hooks = {
            name: _webhook(front, key, receiver.url(f"/{name}")) for name in ("ok", "dead", "gone")
        }
        _fan_out(front, table, _emit(front, key))
        _fan_out_by_message(table, _emit(front, key), queue=queue)
        _work(front, queue)
        receiver.wait_for(2, path="/dead")
        _use_slow_lane(front, table, key, receiver, queue=queue)
        for hook in hooks.values():
            _use_deliveries(front, key, hook)
        assert front("POST", f"/admin/webhooks/{hooks['ok']}/test", key=key).status == 202
        _pause_and_resume(front, table, key, hooks["ok"], queue=queue, held=held)
        since = {"since": "2020-01-01T00:00:00Z"}
        path = f"/admin/webhooks/{hooks['dead']}/deliveries"
        assert front("GET", path, key=key, query={"status": "dead_letter"}).json()["data"]
        path = f"/admin/webhooks/{hooks['dead']}/recover"
        recovered = front("POST", path, key=key, body=since).json()
        assert recovered["data"]["count"] > 0, recovered
        _work(front, queue)
        _lose_and_sweep(front, key, queue=queue, held=held)
        _work(front, queue)
        assert front("DELETE", f"/admin/webhooks/{hooks['gone']}", key=key).status == 200
        _work(front, queue)


def _webhook(front: Front, key: str, url: str) -> str:
    made = front("POST", "/admin/webhooks", key=key, body={"url": url, "retry_schedule": [1]})
    assert made.status == 201, made.text
    return str(made.json()["data"]["id"])


def _emit(front: Front, key: str) -> str:
    made = front("POST", "/emit", key=key, body={"signal_type": "alert", "content": "hot"})
    assert made.status == 201, made.text
    return str(made.json()["data"]["id"]).removeprefix("signal:")


def _fan_out(front: Front, table: Table, signal_id: str) -> None:
    """Call fan_out with the stream record of a signal."""
    found = table.client.scan(TableName=table.name)["Items"]
    [item] = [one for one in found if one["sk"]["S"] == signal_id and "fanout" in one]
    event = invocation.event("fan_out")
    event["Records"][0]["dynamodb"]["NewImage"] = item
    done = front.function("fan_out").handler(event, invocation.Context())
    assert done == {"batchItemFailures": []}


def _fan_out_by_message(table: Table, signal_id: str, *, queue: str) -> None:
    """Send the message that `fan_out` sends for a signal on which it fails."""
    found = table.client.scan(TableName=table.name)["Items"]
    [item] = [one for one in found if one["sk"]["S"] == signal_id and "fanout" in one]
    body = json.dumps({"fan_out": signal_id, "account": item["pk"]["S"].split("#")[1]})
    clients.sqs().send_message(QueueUrl=queue, MessageBody=body)


def _use_slow_lane(front: Front, table: Table, key: str, receiver: Receiver, *, queue: str) -> None:
    """Let the slow lane's worker deliver, fail, disable and park."""
    slow = "slow_delivery_worker"
    gone = _webhook(front, key, receiver.url("/gone"))
    _fan_out(front, table, _emit(front, key))
    _work(front, queue, worker=slow)
    assert front("DELETE", f"/admin/webhooks/{gone}", key=key).status == 200
    paused = _webhook(front, key, receiver.url("/ok"))
    _work(front, queue)
    assert (
        front("PATCH", f"/admin/webhooks/{paused}", key=key, body={"active": False}).status == 200
    )
    _fan_out(front, table, _emit(front, key))
    _work(front, queue, worker=slow)
    assert front("DELETE", f"/admin/webhooks/{paused}", key=key).status == 200
    _work(front, queue)


def _work(front: Front, queue: str, *, worker: str = "delivery_worker") -> None:
    """Run a worker until the queue is empty, delayed messages included."""
    while waiting(queue):
        event = drain(queue)
        if not event["Records"]:
            time.sleep(0.05)
            continue
        done = front.function(worker).handler(event, invocation.Context())
        assert done == {"batchItemFailures": []}


def _use_deliveries(front: Front, key: str, hook: str) -> None:
    listed = front("GET", f"/admin/webhooks/{hook}/deliveries", key=key).json()["data"]
    for query in ({}, {"webhook": hook, "status": "dead_letter"}):
        assert front("GET", "/admin/webhooks/deliveries", key=key, query=query).status == 200
    path = f"/admin/webhooks/deliveries/{listed[0]['id']}"
    assert front("GET", path, key=key).status == 200
    once = {"Idempotency-Key": hook}
    assert front("POST", f"{path}/replay", key=key, headers=once).status in {202, 409}


def _pause_and_resume(
    front: Front, table: Table, key: str, hook: str, *, queue: str, held: HeldClock
) -> None:
    path = f"/admin/webhooks/{hook}"
    assert front("PATCH", path, key=key, body={"active": False}).status == 200
    _fan_out(front, table, _emit(front, key))
    _work(front, queue)
    assert front("PATCH", path, key=key, body={"active": True}).status == 200
    _work(front, queue)
    front.function("sweeper").handler({}, invocation.Context())
    held.advance(seconds=180)


def _lose_and_sweep(front: Front, key: str, *, queue: str, held: HeldClock) -> None:
    """Emit a signal without a stream record, then lose the message of its delivery."""
    _emit(front, key)
    held.advance(seconds=180)
    sweeper = front.function("sweeper").handler
    assert sweeper({}, invocation.Context())["signals"] >= 1
    work = front.function("delivery_worker").handler
    assert work(drain(queue), invocation.Context()) == {"batchItemFailures": []}
    assert drain(queue)["Records"], "the messages of the deliveries"
    held.advance(seconds=180)
    assert sweeper({}, invocation.Context())["shards"] >= 1
