"""Numbers go out as they came in: in answers, their repeats, and the body that is signed."""

from __future__ import annotations

import json
import re

import pytest

from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock

WRITTEN = (
    *("0.1", "0.10", "1e-400", "1e400", "-0", "-0.0", "1E5", "12345678901234567890123"),
    *("0.1000000000000000055511151231257827", "9007199254740993", "1" * 1_000),
)
OBJECT = "{" + ",".join(f'"n{n}":{number}' for n, number in enumerate(WRITTEN)) + "}"
NESTED = '{"a":[' + ",".join(WRITTEN) + f'],"text":"\\"exact: 0.10\\" \\\\ \u2603","o":{OBJECT}}}'


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


def _emit(front: Front, admin: Holder, body: str, **headers: str):  # noqa: ANN202
    answer = front("POST", "/emit", key=admin.key, body=body, headers=headers)
    assert answer.status == 201, answer.text
    return answer


def test_a_signal_s_numbers_are_shown_and_signed_as_written(
    front: Front, admin: Holder, stack: Tables, held: HeldClock
) -> None:
    fields = '"signal_type":"alert","content":"x"'
    body = f'{{{fields},"payload":{NESTED},"metadata":{OBJECT}}}'
    first = _emit(front, admin, body, **{"Idempotency-Key": "numbers"})
    again = _emit(front, admin, body, **{"Idempotency-Key": "numbers"})
    signal_id = first.json()["data"]["id"]
    shown = front("GET", f"/signals/{signal_id}", key=admin.key)
    listed = front("GET", "/signals/list", key=admin.key)
    stored = signals.find(stack.main, admin.account_id, signal_id[7:], now=held())
    assert stored is not None
    signed = signals.body(stored).decode()
    for text in (first.text, shown.text, listed.text, signed):
        assert f'"payload":{NESTED},"metadata":{OBJECT}' in text
    assert again.text == first.text
    assert int(shown.headers["content-length"]) == len(shown.text.encode())


@pytest.mark.parametrize(
    ("sent", "out"),
    [("0", "0"), ("1", "1"), ("0.0", "0"), ("1.0", "1"), ("0.5", "0.5"), ("5e-1", "0.5")],
)
def test_an_urgency_that_is_whole_goes_out_as_a_whole_number(
    front: Front, admin: Holder, stack: Tables, held: HeldClock, sent: str, out: str
) -> None:
    """So that a receiver that parses and writes the JSON again gets the bytes that were signed."""
    body = f'{{"signal_type":"alert","content":"x","urgency":{sent}}}'
    answer = _emit(front, admin, body)
    assert f'"urgency":{out},' in answer.text
    signal_id = answer.json()["data"]["id"][7:]
    stored = signals.find(stack.main, admin.account_id, signal_id, now=held())
    assert stored is not None
    signed = signals.body(stored).decode()
    assert f'"urgency":{out},' in signed
    assert json.dumps(json.loads(signed), separators=(",", ":"), ensure_ascii=False) == signed


@pytest.mark.parametrize("urgency", ["1e400", "-1e400", "1.0000000000000001e0", "2", "1e-400"])
def test_an_urgency_is_compared_as_a_number(front: Front, admin: Holder, urgency: str) -> None:
    body = f'{{"signal_type":"alert","content":"x","urgency":{urgency}}}'
    answer = front("POST", "/emit", key=admin.key, body=body)
    assert answer.status == (201 if urgency in {"1e-400", "1.0000000000000001e0"} else 400)


def test_a_key_s_metadata_keep_their_numbers(front: Front, admin: Holder) -> None:
    body = f'{{"name":"x","metadata":{OBJECT}}}'
    made = front("POST", "/v1/api-keys", key=admin.key, body=body).json()["data"]
    path = f"/v1/api-keys/{made['id']}"
    seen = [
        front("PATCH", path, key=admin.key, body="{}").text,
        front("PATCH", path, key=admin.key, body=f'{{"metadata":{OBJECT}}}').text,
        front("GET", "/v1/whoami", key=made["key"]).text,
        front("POST", "/v1/keys/verify", key=admin.key, body={"key": made["key"]}).text,
    ]
    for text in seen:
        assert f'"metadata":{OBJECT}' in text
    finer = "0.10000000000000000001"
    changed = front("PATCH", path, key=admin.key, body=f'{{"metadata":{{"n0":{finer}}}}}')
    assert f'"metadata":{{"n0":{finer}}}' in changed.text
    assert not re.search("exact:[0-9a-f]", changed.text)
