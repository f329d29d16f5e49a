"""The front door in front of a small server on loopback, over real sockets."""

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gatehouse_cli.local.callers import own_names
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.front_door import MAX_BODY, FrontDoor, Target
from gatehouse_cli.local.server import listen, serve_in_thread

PACKED = gzip.compress(b"packed")


async def stage(scope: Any, receive: Any, send: Any) -> None:
    """Replaces the engine: returns the request that it received, or a special response."""
    if scope["type"] == "lifespan":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status, headers = 200, [(b"x-amzn-requestid", b"r-1")]
    if scope["raw_path"].endswith(b"/cookies"):
        headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        answer = b""
    elif scope["raw_path"].endswith(b"/packed"):
        headers += [(b"content-encoding", b"gzip")]
        answer = PACKED
    elif scope["raw_path"].endswith(b"/gone"):
        status, answer = 204, b""
    elif scope["raw_path"].endswith(b"/moved"):
        status, answer = 307, b""
        headers += [(b"location", b"http://elsewhere.invalid/")]
    else:
        answer = json.dumps(
            {
                "method": scope["method"],
                "path": scope["raw_path"].decode(),
                "query": scope["query_string"].decode(),
                "headers": [
                    [name.decode(), value.decode("latin-1")] for name, value in scope["headers"]
                ],
                "body": body.decode(),
            }
        ).encode()
    if status != 204:
        headers.append((b"content-length", str(len(answer)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def engine_at(port: int) -> EngineAccess:
    return EngineAccess(port=port, key_id="GH1", secret="s", door="door secret")


def port_of(sockets: list[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[FrontDoor, httpx.Client]]:
    with listen([0]) as inner, serve_in_thread(stage, inner), listen([0]) as outer:
        door = FrontDoor(
            own_names([port_of(outer)], ["gatehouse.test", "localhost:5173"]),
            Target(
                engine_at(port_of(inner)),
                rest_path="/_aws/execute-api/id/live",
                socket_path="/_aws/execute-api/ws/live",
            ),
        )
        with (
            serve_in_thread(door, outer),
            httpx.Client(base_url=f"http://127.0.0.1:{port_of(outer)}", trust_env=False) as client,
        ):
            yield door, client


@pytest.fixture
def client(door: tuple[FrontDoor, httpx.Client]) -> httpx.Client:
    return door[1]


def headers_of(answer: dict[str, Any], name: str) -> list[str]:
    return [value for key, value in answer["headers"] if key == name]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/api-keys",
        "/api/services/a%2Fb/health",
        "/admin/../v1/whoami",
        "/v1//api-keys/",
        "/v1/%E2%82%AC",
        "/",
    ],
)
def test_a_path_reaches_the_stage_byte_for_byte(client: httpx.Client, path: str) -> None:
    request = client.build_request("GET", "/", extensions={"target": path.encode()})

    assert client.send(request).json()["path"] == "/_aws/execute-api/id/live" + path


def test_a_query_reaches_the_stage_byte_for_byte(client: httpx.Client) -> None:
    query = "status=all&a=%20&a=2&b"
    request = client.build_request("GET", "/", extensions={"target": f"/x?{query}".encode()})

    assert client.send(request).json()["query"] == query


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_and_its_body_reach_the_stage(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/x", content=b'{"a":1}').json()

    assert (answer["method"], answer["body"]) == (method, '{"a":1}')


def test_a_chunked_body_reaches_the_stage_whole(client: httpx.Client) -> None:
    answer = client.post("/x", content=iter([b"one ", b"two"])).json()

    assert answer["body"] == "one two"
    assert headers_of(answer, "content-length") == ["7"]


def test_head_is_answered_without_a_body(client: httpx.Client) -> None:
    response = client.head("/x")

    assert (response.status_code, response.content) == (200, b"")


def test_the_source_address_is_never_taken_from_the_callers_headers(
    client: httpx.Client,
) -> None:
    answer = client.get("/x", headers={"X-Forwarded-For": "203.0.113.9"}).json()

    assert headers_of(answer, "x-forwarded-for") == ["127.0.0.1"]


def test_the_callers_host_header_never_reaches_the_engine(client: httpx.Client) -> None:
    answer = client.get("/x", headers={"Host": "gatehouse.test"}).json()

    assert headers_of(answer, "host")[0].startswith("127.0.0.1:")


def test_hop_by_hop_headers_are_not_forwarded(client: httpx.Client) -> None:
    answer = client.get("/x", headers={"TE": "trailers", "Connection": "close, TE"}).json()

    assert headers_of(answer, "te") == []


def test_only_the_door_s_header_is_added_to_a_request(client: httpx.Client) -> None:
    request = httpx.Request("GET", client.base_url.join("/x"), headers={"X-Api-Key": "hk"})

    names = {name for name, _ in client.send(request).json()["headers"]}

    # The last is the front door's secret, which the engine requires.
    assert names == {"host", "x-api-key", "x-forwarded-for", "x-gatehouse-door"}


def test_the_front_door_s_secret_is_never_taken_from_the_caller(client: httpx.Client) -> None:
    answer = client.get("/x", headers={"X-Gatehouse-Door": "guess"}).json()

    assert headers_of(answer, "x-gatehouse-door") == ["door secret"]


def test_a_repeated_request_header_is_forwarded_repeated(client: httpx.Client) -> None:
    answer = client.get("/x", headers=[("X-Tag", "1"), ("X-Tag", "2")]).json()

    assert headers_of(answer, "x-tag") == ["1", "2"]


def test_a_repeated_response_header_is_returned_repeated(client: httpx.Client) -> None:
    assert client.get("/cookies").headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_no_header_is_added_to_a_response(client: httpx.Client) -> None:
    ours = set(client.get("/x").headers)

    # The small server sets `date` and `server`, as API Gateway does on AWS.
    assert ours == {"x-amzn-requestid", "content-length"}


def test_an_encoded_body_is_returned_unchanged(client: httpx.Client) -> None:
    with client.stream("GET", "/packed") as response:
        raw = b"".join(response.iter_raw())

    assert raw == PACKED
    assert response.headers["content-length"] == str(len(PACKED))


def test_a_204_has_no_body_and_no_content_length(client: httpx.Client) -> None:
    response = client.delete("/gone")

    assert response.status_code == 204
    assert "content-length" not in response.headers


def test_a_redirect_is_returned_and_not_followed(client: httpx.Client) -> None:
    assert client.get("/moved").status_code == 307


def test_200_concurrent_requests_are_all_answered(client: httpx.Client) -> None:
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: client.get("/x").status_code, range(200)))

    assert statuses == [200] * 200


def test_a_body_over_the_gateways_limit_is_413(client: httpx.Client) -> None:
    response = client.post("/x", content=b"x" * (MAX_BODY + 1))

    assert response.status_code == 413
    assert response.json()["error"] == "Payload Too Large"
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_before_a_stack_is_deployed_the_answer_is_503() -> None:
    with listen([0]) as sockets:
        door = FrontDoor(own_names([port_of(sockets)]))
        with serve_in_thread(door, sockets):
            response = httpx.get(f"http://127.0.0.1:{port_of(sockets)}/v1/whoami", trust_env=False)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {
        "error": "Service Unavailable",
        "status": 503,
        "request_id": response.headers["x-request-id"],
        "code": "SERVICE_UNAVAILABLE",
        "message": "Service Unavailable",
        "detail": "The local stack is not deployed, or did not answer; try again.",
    }


def test_when_the_engine_has_stopped_the_answer_is_503() -> None:
    with listen([0]) as unused:
        port = port_of(unused)
    target = Target(engine_at(port), rest_path="/live", socket_path="/ws")
    with listen([0]) as sockets:
        door = FrontDoor(own_names([port_of(sockets)]), target)
        with serve_in_thread(door, sockets):
            response = httpx.get(f"http://127.0.0.1:{port_of(sockets)}/x", trust_env=False)

    assert response.status_code == 503


# ---- Names and pages of others -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200),
        ("127.0.0.1:{port}", 200),
        ("[::1]:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("gatehouse.test", 200),
        ("gatehouse.test:{port}", 200),
        ("localhost:5173", 200),
        ("localhost", 421),
        ("localhost:1", 421),
        ("gatehouse.test:1", 421),
        ("evil.example", 421),
        ("evil.example:{port}", 421),
        ("localhost.evil.example:{port}", 421),
        ("localhost:{port}.evil.example", 421),
        ("127.0.0.2:{port}", 421),
        ("localhost.:{port}", 421),
        ("", 421),
    ],
)
def test_only_the_stack_s_own_names_are_answered(
    client: httpx.Client, host: str, status: int
) -> None:
    named = host.format(port=client.base_url.port)

    response = client.get("/x", headers={"Host": named})

    assert response.status_code == status
    if status == 421:
        assert response.json()["error"].startswith(f"This stack has no host {named!r}: call http")
        assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("lines", [[], ["Host: localhost:{port}", "Host: evil.example"]])
def test_a_request_without_exactly_one_host_is_refused(
    client: httpx.Client, lines: list[str]
) -> None:
    port = client.base_url.port or 0
    text = "".join(f"{line.format(port=port)}\r\n" for line in lines)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(f"GET /x HTTP/1.0\r\n{text}\r\n".encode())

        assert raw.recv(100).split(b" ")[1] in {b"400", b"421"}


@pytest.mark.parametrize(
    ("target", "status", "path"),
    [
        ("http://localhost:{port}/x?a=1", 200, "/x"),
        ("HTTP://LOCALHOST:{port}/a%20b", 200, "/a%20b"),
        ("https://gatehouse.test", 200, "/"),
        ("http://evil.example/x", 421, None),
        ("http://localhost/x", 421, None),
        ("http://me@localhost:{port}/x", 421, None),
        ("http://", 421, None),
        ("*", 400, None),
        ("ftp://localhost:{port}/x", 400, None),
        ("localhost:{port}", 400, None),
    ],
)
def test_the_host_of_a_whole_url_as_target_is_judged_as_well(
    client: httpx.Client, target: str, status: int, path: str | None
) -> None:
    asked = target.format(port=client.base_url.port).encode()

    response = client.send(client.build_request("GET", "/", extensions={"target": asked}))

    assert response.status_code == status
    if path is None:
        assert response.json()["status"] == status
    else:
        assert response.json()["path"] == f"/_aws/execute-api/id/live{path}"


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        ("POST", "http://localhost:{port}", 200),
        ("POST", "http://127.0.0.1:{port}", 200),
        ("POST", "http://[::1]:{port}", 200),
        ("POST", "http://localhost:5173", 200),
        ("POST", "https://gatehouse.test", 200),
        ("DELETE", "http://gatehouse.test:{port}", 200),
        *((method, "http://evil.example", 403) for method in ("POST", "PUT", "PATCH", "DELETE")),
        ("POST", "http://localhost:3000", 403),
        ("POST", "http://localhost", 403),
        ("POST", "https://localhost:{port}.evil.example", 403),
        ("POST", "null", 403),
        ("POST", "", 403),
        ("GET", "http://evil.example", 200),
        ("HEAD", "http://evil.example", 200),
        ("OPTIONS", "http://evil.example", 200),
    ],
)
def test_pages_of_other_sites_change_nothing(
    client: httpx.Client, method: str, origin: str, status: int
) -> None:
    origin = origin.format(port=client.base_url.port)

    response = client.request(method, "/x", headers={"Origin": origin})

    assert response.status_code == status
    if status == 403:
        assert response.json()["error"].startswith(f"Pages of {origin!r} may not send this request")
