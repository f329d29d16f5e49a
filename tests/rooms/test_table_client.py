"""The client of the tables against a server that answers, fails and ends as a script says."""

from __future__ import annotations

import json
import select
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatehouse.core.errors import Unavailable
from gatehouse.dynamo import kept_connections
from gatehouse.dynamo.answers import CallRefused, CallUnanswered
from gatehouse.dynamo.attributes import marshal
from gatehouse.dynamo.client import DynamoClient
from gatehouse.dynamo.table import (
    ConditionFailed,
    Table,
    TransactionCanceled,
    TransactionConflict,
    transact,
)
from support.actors.certificates import self_signed
from support.aws import scripted_server
from support.aws.scripted_server import Script, Step, answer, refusal

KEY = {"pk": "p", "sk": "s"}
ITEM = {**KEY, "n": 7, "bytes": b"\x00\xff", "B": "a name like a type", "deep": [{"B": b"x"}, None]}
WIRED = json.loads(
    json.dumps(marshal(ITEM), default=lambda value: {b"x": "eA==", b"\x00\xff": "AP8="}[value])
)
FOUND = answer({"Item": WIRED})

Play = Callable[[Sequence[Step]], tuple[Script, DynamoClient]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Start a script, and make a client whose endpoint it is."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, f"a{name[-3:]}")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setattr(kept_connections, "READ_TIMEOUT", 10)  # longer than a busy machine
    opened: list[Any] = []

    def start(steps: Sequence[Step]) -> tuple[Script, DynamoClient]:
        playing = scripted_server.playing(steps)
        script = playing.__enter__()
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", script.url)
        client = DynamoClient()
        opened.append((client, playing))
        return script, client

    yield start
    for client, playing in opened:
        client.close()
        playing.__exit__(None, None, None)


def table(client: Any) -> Table:
    return Table("main", client)


def sent(request: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Read a request: its headers by lower-case name, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, json.loads(body)


# ---- Requests and answers ------------------------------------------------------------------------


def test_an_item_comes_back_as_it_was_written(play: Play) -> None:
    script, client = play([answer({}), FOUND])
    table(client).insert(ITEM)
    assert table(client).get(KEY) == ITEM
    headers, body = sent(script.requests[0])
    assert body["Item"] == WIRED
    assert headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
    assert headers["x-amz-security-token"] == "aKEN"
    assert "/eu-west-1/dynamodb/aws4_request" in headers["authorization"]


@pytest.mark.parametrize(
    "operation",
    [
        *("get_item", "batch_get_item", "query", "scan", "put_item", "update_item"),
        *("delete_item", "transact_write_items"),
    ],
)
def test_each_operation_names_itself_and_sends_its_request(play: Play, operation: str) -> None:
    script, client = play([answer({"Count": 1})])
    assert getattr(client, operation)(TableName="main", Any={"b": b"x"}) == {"Count": 1}
    headers, body = sent(script.requests[0])
    name = "".join(word.capitalize() for word in operation.split("_"))
    assert headers["x-amz-target"] == f"DynamoDB_20120810.{name}"
    token = body.pop("ClientRequestToken", None)
    assert (token is not None) == (operation == "transact_write_items")
    assert body == {"TableName": "main", "Any": {"b": "eA=="}}


def test_both_attempts_of_a_transaction_have_one_token(play: Play, sleeps: list[float]) -> None:
    script, client = play([answer({}), Step(end="reset"), answer({})])
    for _ in range(2):
        transact(client, [table(client).put_new(KEY)])  # type: ignore[arg-type]
    first, *second = [sent(request)[1].pop("ClientRequestToken") for request in script.requests]
    assert len(second) == 2
    assert second[0] == second[1] != first
    assert 1 <= len(first) <= 36
    assert len(sleeps) == 1


def test_errors_of_dynamodb_raise_those_of_the_tables(play: Play) -> None:
    reasons = [
        {"Code": "None"},
        {"Code": "ConditionalCheckFailed", "Item": WIRED},
        {"Code": "TransactionConflict"},
    ]
    script, client = play(
        [
            refusal("ConditionalCheckFailedException", Item=WIRED),
            refusal("ConditionalCheckFailedException"),
            refusal("TransactionConflictException"),
            refusal("TransactionCanceledException", CancellationReasons=reasons),
            refusal("ResourceNotFoundException"),
            refusal("ValidationException"),
        ]
    )
    main = table(client)
    for item in (ITEM, None):
        with pytest.raises(ConditionFailed) as failed:
            main.insert(ITEM)
        assert failed.value.item == item
    with pytest.raises(TransactionConflict):
        main.insert(ITEM)
    with pytest.raises(TransactionCanceled) as canceled:
        transact(main.client, [main.put_new(ITEM)] * 3)
    assert (canceled.value.failed, canceled.value.conflict) == ({1: ITEM}, True)
    with pytest.raises(Unavailable):
        main.get(KEY)
    with pytest.raises(CallRefused, match="GetItem: ValidationException: for a test") as refused:
        main.get(KEY)
    assert refused.value.operation_name == "GetItem"
    assert len(script.requests) == 6


# ---- Attempts ------------------------------------------------------------------------------------

CHUNKED = {"Transfer-Encoding": "chunked"}
CUT = Step(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "close")
BROKEN = {
    "closed": Step(end="close"),
    "reset": Step(end="reset"),
    "silent": Step(end="silence"),
    "silent within the body": Step(CUT.sent, "silence"),
    "cut in the body": CUT,
    "cut in the head": Step(b"HTTP/1.1 200 OK\r\nConte", "close"),
    "not HTTP": Step(b"hello\r\n\r\n", "close"),
    "not final": Step(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status of letters": Step(b"HTTP/1.1 2xx X\r\n\r\n"),
    "a length of letters": answer({}, headers={"Content-Length": "x"}),
    "an endless head": Step(b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 11_000),
    "a chunk of letters": answer(b"letters\r\n", headers=CHUNKED),
    "a chunk beyond its size": answer(b"2\r\n{}x\r\n0\r\n\r\n", headers=CHUNKED),
    "not JSON": answer(b"<html>"),
    "a list": answer([]),
    "a wrong checksum": answer({}, headers={"x-amz-crc32": "1"}),
    "an error page": answer(b"<html>", 502),
    "an error without a code": answer({"message": "x"}, 500),
}
SERVER_ERRORS = [refusal("InternalServerError", 500), refusal("ServiceUnavailable", 503)]
THROTTLED = [
    *(
        refusal(code)
        for code in (
            *("LimitExceededException", "ProvisionedThroughputExceededException"),
            *("RequestLimitExceeded", "ThrottlingException", "TransactionInProgressException"),
        )
    ),
    refusal("Unknown", 429),
]


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, high: high)


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize(
    ("step", "wait"),
    [
        *(pytest.param(step, 0.025, id=name) for name, step in BROKEN.items()),
        *((step, 0.025) for step in SERVER_ERRORS),
        *((step, 1.0) for step in THROTTLED),
    ],
)
def test_what_may_pass_is_tried_twice(
    play: Play, monkeypatch: pytest.MonkeyPatch, sleeps: list[float], step: Step, wait: float
) -> None:
    if step.end == "silence":
        monkeypatch.setattr(kept_connections, "READ_TIMEOUT", 0.3)
    script, client = play([step, FOUND, step, step, FOUND])
    assert table(client).get(KEY) == ITEM
    assert sleeps == [wait]
    with pytest.raises((CallUnanswered, CallRefused)):
        client.get_item(TableName="main", Key=marshal(KEY))
    assert (len(script.requests), sleeps) == (4, [wait, wait])
    assert table(client).get(KEY) == ITEM


@pytest.mark.parametrize(
    "step",
    [
        *(refusal(code) for code in ("ValidationException", "ConditionalCheckFailedException")),
        *(refusal(code) for code in ("TransactionConflictException", "AccessDeniedException")),
        answer(b"<html>", 403),
        answer({}, 499),
    ],
)
def test_what_would_fail_again_is_tried_once(play: Play, sleeps: list[float], step: Step) -> None:
    script, client = play([step, FOUND])
    with pytest.raises(CallRefused):
        client.get_item(TableName="main", Key=marshal(KEY))
    assert (len(script.requests), sleeps) == (1, [])


def test_a_table_that_does_not_answer_is_unavailable(play: Play, sleeps: list[float]) -> None:
    _, client = play([Step(end="close")])
    with pytest.raises(Unavailable) as unavailable:
        table(client).get(KEY)
    assert isinstance(unavailable.value.__cause__, CallUnanswered)
    assert len(sleeps) == 1


def test_without_credentials_nothing_is_sent(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    script, _ = play([FOUND])
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CallUnanswered, match="no credentials"):
        DynamoClient().get_item(TableName="main", Key=marshal(KEY))
    assert script.connections == 0


# ---- Connections ---------------------------------------------------------------------------------


def test_a_connection_is_kept_for_the_next_request(play: Play) -> None:
    script, client = play([FOUND, refusal("ValidationException"), FOUND])
    for _ in range(5):
        try:
            client.get_item(TableName="main", Key=marshal(KEY))
        except CallRefused:
            continue
    assert (len(script.requests), script.connections) == (5, 1)


@pytest.mark.parametrize(
    "step",
    [
        answer({"Item": WIRED}, end="close"),
        answer({"Item": WIRED}, headers={"Connection": "close"}),
        Step(FOUND.sent.replace(b"HTTP/1.1", b"HTTP/1.0")),
        answer({"Item": WIRED}, headers={"Content-Length": ""}, end="close"),
        Step(FOUND.sent + b"more"),
    ],
    ids=["closed while idle", "said to close", "HTTP/1.0", "without a length", "more than said"],
)
def test_a_connection_that_ended_is_not_used_again(
    play: Play, sleeps: list[float], step: Step
) -> None:
    script, client = play([step])
    idle = client._connections._idle  # noqa: SLF001
    for _ in range(3):
        assert table(client).get(KEY) == ITEM
        while idle and idle[-1].is_usable():
            select.select([], [], [], 0.001)  # the end of the connection is on its way
    assert (len(script.requests), script.connections, sleeps) == (3, 3, [])


def test_an_answer_in_chunks_is_read_to_its_end(play: Play) -> None:
    raw = FOUND.sent.partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in (raw[:9], raw[9:]))
    script, client = play([Step(head + parts + b"0\r\nTrailer: x\r\n\r\n")])
    for _ in range(2):
        assert table(client).get(KEY) == ITEM
    assert script.connections == 1


def test_one_failure_ends_all_idle_connections(play: Play, sleeps: list[float]) -> None:
    """Else the second attempt could meet another connection that has ended as well."""
    script, client = play([FOUND] * 4 + [Step(end="reset"), FOUND])
    connections = client._connections  # noqa: SLF001
    held = [connections._open() for _ in range(3)]  # noqa: SLF001
    connections._idle.extend(held)  # noqa: SLF001
    for _ in range(5):
        assert table(client).get(KEY) == ITEM
    assert (len(script.requests), script.connections, len(sleeps)) == (6, 4, 1)


def test_threads_share_a_client_and_each_gets_its_own_answer(play: Play) -> None:
    def asked(number: int) -> Any:
        return table(client).get({"pk": str(number), "sk": "s"})

    script, client = play([FOUND])
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked, range(200))) == [ITEM] * 200
    assert len({sent(request)[1]["Key"]["pk"]["S"] for request in script.requests}) == 200
    assert script.connections <= 8


def test_a_server_needs_a_certificate_of_a_trusted_authority(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> None:
    play([FOUND])
    for names, trusted, works in (
        (("127.0.0.1",), True, True),
        (("127.0.0.1",), False, False),
        (("other.example",), True, False),
    ):
        certificate = self_signed(tmp_path, names=names)
        with scripted_server.playing([FOUND], certificate=certificate) as script:
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", script.url)
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.file) if trusted else "")
            client = DynamoClient()
            if works:
                assert table(client).get(KEY) == ITEM
                assert table(client).get(KEY) == ITEM
                assert script.connections == 1
            else:
                with pytest.raises(Unavailable):
                    table(client).get(KEY)
                assert script.requests == []
            client.close()
    assert len(sleeps) == 2
