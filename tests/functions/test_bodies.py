"""Bodies that every route refuses, with its surface's error body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, said

LARGEST = 256 * 1024
ROUTES = [
    ("POST", "/api/auth/keys"),
    ("POST", "/v1/accounts"),
    ("POST", "/v1/api-keys"),
    ("POST", "/v1/api-keys/{id}/rotate"),
    ("PATCH", "/v1/api-keys/{id}"),
    ("POST", "/v1/keys/verify"),
    ("POST", "/admin/api-keys"),
    ("POST", "/admin/api-keys/{id}/rotate"),
]
every_route = pytest.mark.parametrize(("method", "path"), ROUTES)


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


@pytest.fixture
def send(front: Front, admin: Holder, method: str, path: str):  # noqa: ANN201
    there = path.replace("{id}", admin.key_id)
    key = None if path == "/v1/accounts" else admin.key

    def ask(body: Any, **headers: str) -> tuple[int, str, str]:
        answer = front(method, there, key=key, body=body, headers=headers)
        code = answer.json()["error"]["code"] if path.startswith("/admin") else ""
        return answer.status, said(answer), code

    return ask


MALFORMED = {
    "cut off": '{"name": "x"',
    "no JSON": "name=x",
    "single quotes": "{'name': 'x'}",
    "a trailing comma": '{"name": "x",}',
    "two values": "{}{}",
    "a comment": '{"name": "x"} // x',
    "NaN": '{"name": "x", "n": NaN}',
    "infinity": '{"name": "x", "n": -Infinity}',
    "a number beyond floats": '{"name": "x", "n": 1e400}',
    "a number of 5,000 digits": '{"name": "x", "n": ' + "1" * 5_000 + "}",
    "a lone surrogate": '{"name": "\\ud800"}',
    "a lone surrogate as a key": '{"\\udfff": 1}',
    "a control character in a string": '{"name": "a\nb"}',
    "blank": "   ",
    "no UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "a NUL": b"\x00",
    "33 levels": '{"n": ' + "[" * 33 + "]" * 33 + "}",
    "500 levels": '{"n": ' + "[" * 500 + "]" * 500 + "}",
    "900 levels": '{"n": ' + '{"n":' * 900 + "1" + "}" * 900 + "}",
    "100,000 levels": "[" * 100_000,
    "closed 50,000 levels": '{"n": ' + "[" * 50_000 + "]" * 50_000 + "}",
}


@every_route
@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_json_is_a_400(send, what: str) -> None:  # noqa: ANN001
    status, text, code = send(MALFORMED[what])
    assert status == 400, text
    assert text in {"Malformed JSON", "JSON nests deeper than 32"}
    assert code in {"", "VALIDATION_MALFORMED_JSON"}


@every_route
def test_a_duplicate_key_is_named(send) -> None:  # noqa: ANN001
    status, text, code = send('{"name": "x", "grace_seconds": 0, "name": "y"}')
    assert (status, text) == (400, "Duplicate key in JSON: name")
    assert code in {"", "VALIDATION_DUPLICATE_KEY"}
    status, text, _ = send('{"name": "x", "metadata": {"a": {"b": 1, "b": 1}}}')
    assert (status, text) == (400, "Duplicate key in JSON: b")
    status, text, _ = send(json.dumps({"é\n" * 50: 1})[:-1] + ', "' + "\\u00e9\\n" * 50 + '": 2}')
    assert (status, text[:30]) == (400, "Duplicate key in JSON: \\xe9\\n\\")
    assert text.isascii()
    assert len(text) < 100


@every_route
@pytest.mark.parametrize("body", ["[]", '[{"name": "x"}]', '"x"', "1", "null", "true"])
def test_a_body_that_is_not_an_object_is_a_400(send, body: str) -> None:  # noqa: ANN001
    status, text, code = send(body)
    assert (status, text) == (400, "The body must be a JSON object")
    assert code in {"", "VALIDATION_INVALID_TYPE"}


@every_route
def test_a_body_over_256_kib_is_a_413(send) -> None:  # noqa: ANN001
    frame = len('{"x": ""}')
    for size in (LARGEST + 1, 300 * 1024):
        status, text, code = send(json.dumps({"x": "y" * (size - frame)}))
        assert (status, text) == (413, "The body is over 256 KiB")
        assert code in {"", "PAYLOAD_TOO_LARGE"}
    status, text, _ = send(json.dumps({"x": "é" * (LARGEST // 2)}, ensure_ascii=False).encode())
    assert status == 413
    status, text, _ = send(json.dumps({"x": "y" * (LARGEST - frame), "": [1]})[: LARGEST - 1])
    assert (status, text) == (400, "Malformed JSON")


@every_route
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "json",
        "",
        "application/json, text/plain",
    ],
)
def test_a_content_type_that_is_not_json_is_a_400(
    send,  # noqa: ANN001
    content_type: str,
) -> None:
    status, text, code = send('{"name": "x"}', **{"Content-Type": content_type})
    assert (status, text) == (400, "Content-Type must be application/json")
    assert code in {"", "VALIDATION_CONTENT_TYPE"}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.acme+json",
        " application/json ;x=y",
    ],
)
def test_every_json_content_type_is_accepted(
    front: Front, admin: Holder, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    body = {"name": "x"}
    assert front("POST", "/v1/api-keys", key=admin.key, body=body, headers=headers).status == 201


def test_a_base64_body_is_decoded(front: Front, admin: Holder) -> None:
    body = '{"name": "ünïcode ☃"}'.encode()
    made = front("POST", "/api/auth/keys", key=admin.key, body=body)
    assert made.status == 201
    assert made.json()["name"] == "ünïcode ☃"


@pytest.mark.parametrize("body", [None, ""])
def test_an_empty_body_is_an_empty_object(front: Front, admin: Holder, body: str | None) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = front("POST", "/v1/api-keys", key=admin.key, body=body, headers=headers)
    assert answer.status == 400
    assert said(answer) == "name is required"


def test_the_scope_is_checked_before_the_body(front: Front, people: People) -> None:
    key = people.key(people.tenant(), scopes=[])
    for method, path in ROUTES:
        if path == "/v1/accounts":
            continue
        there = path.replace("{id}", key.key_id)
        assert front(method, there, key=key.key, body="{bad").status == 403
