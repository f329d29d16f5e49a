"""Bodies that every route refuses, with its surface's error body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.checks import described_routes

LARGEST = 256 * 1024


@pytest.fixture(scope="module")
def admin(people: People, settings_key: str, delivery_queue: str) -> Holder:
    del settings_key, delivery_queue
    return people.tenant()


@pytest.fixture(scope="module")
def every(front: Front, admin: Holder):  # noqa: ANN201
    """Send a body to every route that has one: the answers' statuses, texts and codes."""

    def ask(body: Any, **headers: str) -> set[tuple[int, str, str]]:
        answers = set()
        for one in described_routes.with_body():
            path = one.path.replace("{id}", admin.key_id).replace("{name}", "billing")
            key = None if one.public else admin.key
            answer = front(one.method, path, key=key, body=body, headers=headers)
            error = answer.json()["error"]
            code = "" if isinstance(error, str) else error["code"]
            answers.add((answer.status, error_text(answer), code))
        return answers

    return ask


def _each(status: int, text: str, code: str) -> set[tuple[int, str, str]]:
    return {(status, text, code), (status, text, "")}


MALFORMED = {
    "cut off": '{"name": "x"',
    "no JSON": "name=x",
    "single quotes": "{'name': 'x'}",
    "a trailing comma": '{"name": "x",}',
    "two values": "{}{}",
    "a comment": '{"name": "x"} // x',
    "NaN": '{"name": "x", "n": NaN}',
    "infinity": '{"name": "x", "n": -Infinity}',
    "a lone surrogate": '{"name": "\\ud800"}',
    "a lone surrogate as a key": '{"\\udfff": 1}',
    "a control character in a string": '{"name": "a\nb"}',
    "blank": "   ",
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "a NUL": b"\x00",
    "33 levels": '{"n": ' + "[" * 33 + "]" * 33 + "}",
    "500 levels": '{"n": ' + "[" * 500 + "]" * 500 + "}",
    "900 levels": '{"n": ' + '{"n":' * 900 + "1" + "}" * 900 + "}",
    "100,000 levels": "[" * 100_000,
    "closed 50,000 levels": '{"n": ' + "[" * 50_000 + "]" * 50_000 + "}",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_json_is_a_400(every, what: str) -> None:  # noqa: ANN001
    # Whether deep nesting is measured or exhausts the parser depends on the caller's stack.
    texts = ("Malformed JSON", "JSON nests deeper than 32")
    assert every(MALFORMED[what]) in [_each(400, t, "VALIDATION_MALFORMED_JSON") for t in texts]


@pytest.mark.parametrize("number", ["1" * 1_001, "0." + "3" * 999, "1e" + "0" * 999, "1" * 5_000])
def test_a_number_of_more_than_1000_characters_is_a_400(every, number: str) -> None:  # noqa: ANN001
    text = "A number must have at most 1000 characters"
    assert every(f'{{"n": {number}}}') == _each(400, text, "VALIDATION_MALFORMED_JSON")


def test_a_duplicate_key_is_named(every) -> None:  # noqa: ANN001
    def named(name: str) -> set[tuple[int, str, str]]:
        return _each(400, f"Duplicate key in JSON: {name}", "VALIDATION_DUPLICATE_KEY")

    assert every('{"name": "x", "grace_seconds": 0, "name": "y"}') == named("name")
    assert every('{"name": "x", "metadata": {"a": {"b": 1, "b": 1}}}') == named("b")
    body = json.dumps({"é\n" * 50: 1})[:-1] + ', "' + "\\u00e9\\n" * 50 + '": 2}'
    assert every(body) == named(("\\xe9\\n" * 50)[:64])


@pytest.mark.parametrize("body", ["[]", '[{"name": "x"}]', '"x"', "1", "null", "true"])
def test_a_body_that_is_not_an_object_is_a_400(every, body: str) -> None:  # noqa: ANN001
    text = "The body must be a JSON object"
    assert every(body) == _each(400, text, "VALIDATION_INVALID_TYPE")


def test_a_body_over_256_kib_is_a_413(every) -> None:  # noqa: ANN001
    frame = len('{"x": ""}')
    too_large = _each(413, "The body is over 256 KiB", "PAYLOAD_TOO_LARGE")
    for size in (LARGEST + 1, 300 * 1024):
        assert every(json.dumps({"x": "y" * (size - frame)})) == too_large
    body = json.dumps({"x": "é" * (LARGEST // 2)}, ensure_ascii=False)
    assert every(body.encode()) == too_large
    largest = json.dumps({"x": "y" * (LARGEST - frame), "": [1]})[: LARGEST - 1]
    assert every(largest) == _each(400, "Malformed JSON", "VALIDATION_MALFORMED_JSON")


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
def test_a_content_type_that_is_not_json_is_a_400(every, content_type: str) -> None:  # noqa: ANN001
    answers = every('{"name": "x"}', **{"Content-Type": content_type})
    text = "Content-Type must be application/json"
    assert answers == _each(400, text, "VALIDATION_CONTENT_TYPE")


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


@pytest.mark.parametrize(
    "charset",
    [
        "iso-8859-1",
        "ISO-8859-1",
        '"latin1"',
        "utf-16",
        "us-ascii",
        "",
        "utf-8-sig",
        " windows-1252 ",
    ],
)
def test_another_charset_is_a_415(every, charset: str) -> None:  # noqa: ANN001
    for parameters in (f"charset={charset}", f"x=y; Charset={charset}"):
        answers = every('{"name": "x"}', **{"Content-Type": f"application/json;{parameters}"})
        text = "The body must be in UTF-8, not in another charset"
        assert answers == _each(415, text, "VALIDATION_CHARSET")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "Jos\u00e9"}'.encode("latin-1"),
        '{"name": "x"}'.encode("utf-16"),
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',  # a surrogate
        b'{"name": "\xc0\xaf"}',  # longer than needed
        b'{"name": "\xf0\x9f\x92"}',  # cut off
    ],
)
def test_bytes_that_are_not_utf_8_are_a_400(every, body: bytes) -> None:  # noqa: ANN001
    assert every(body) == _each(400, "The body is not UTF-8", "VALIDATION_CHARSET")


@pytest.mark.parametrize("body", [b'{"name": "Jos\xe9"}', b'{"name": "\xf0\x9f\x92"}'])
def test_what_api_gateway_replaced_is_a_400(every, body: bytes) -> None:  # noqa: ANN001
    """Without binary media types it decodes a body itself, with U+FFFD for what is no UTF-8."""
    text = "The body is not UTF-8. In JSON, write U+FFFD as \\ufffd"
    assert every(body.decode(errors="replace")) == _each(400, text, "VALIDATION_CHARSET")


def test_u_fffd_itself_can_be_sent(front: Front, admin: Holder) -> None:
    for body in ('{"name": "a\\ufffd"}', '{"name": "a\ufffd"}'.encode()):
        made = front("POST", "/v1/api-keys", key=admin.key, body=body)
        assert (made.status, made.json()["data"]["name"]) == (201, "a\ufffd")


def test_two_bodies_that_look_alike_never_share_an_idempotency_key(
    front: Front, admin: Holder
) -> None:
    seen = []
    for name in ("Jos\u00e9", "Jos\u00e8"):
        body = json.dumps({"name": name}, ensure_ascii=False).encode("latin-1")
        for sent in (body, body.decode(errors="replace")):
            headers = {"Idempotency-Key": "one"}
            answer = front("POST", "/v1/api-keys", key=admin.key, body=sent, headers=headers)
            seen.append(answer.status)
    assert seen == [400, 400, 400, 400]


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
    assert error_text(answer) == "name is required"


def test_the_scope_is_checked_before_the_body(front: Front, people: People) -> None:
    key = people.key(people.tenant(), scopes=[])
    for one in described_routes.with_body():
        if one.public or one.path == "/auth/attach-wallet":  # any live key may attach
            continue
        path = one.path.replace("{id}", key.key_id).replace("{name}", "billing")
        assert front(one.method, path, key=key.key, body="{bad").status == 403, one
