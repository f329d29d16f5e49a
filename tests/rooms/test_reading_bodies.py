"""Parsing of JSON bodies: strict, within limits, and with our exceptions only."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatehouse.core.errors import BadInput, GatehouseError, TooLarge
from gatehouse.web import bodies

JSON = "application/json"
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)
objects = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), values, max_size=5)


@given(objects)
def test_every_json_object_is_parsed(value: dict) -> None:
    for ascii_only in (True, False):
        raw = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert bodies.parse(raw, JSON) == value


@given(st.binary(max_size=200))
@example(b'{"a": 1e999}')
@example(b'{"a": -0}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"\\ud800": 1}')
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        outcome = bodies.parse(raw, JSON)
    except BadInput as refused:
        outcome = refused
    assert isinstance(outcome, dict) or (outcome.status == 400 and outcome.message.isascii())


@pytest.mark.parametrize("depth", [1, 2, 31])
def test_thirty_two_levels_are_accepted(depth: int) -> None:
    raw = '{"a":' + "[" * depth + "]" * depth + "}"
    assert bodies.parse(raw.encode(), JSON)


@pytest.mark.parametrize("depth", [32, 33, 100, 450, 500, 700, 900, 990, 1_000, 10_000, 60_000])
@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_more_than_thirty_two_levels_are_refused(depth: int, open_: str, close: str) -> None:
    raw = ('{"a":' + open_ * depth + "1" + close * depth + "}").encode()
    with pytest.raises(GatehouseError) as refused:
        bodies.parse(raw, JSON)
    assert refused.value.status in {400, 413}


def test_the_size_is_checked_before_parsing() -> None:
    with pytest.raises(TooLarge):
        bodies.parse(b"x" * (256 * 1024 + 1), "image/png")
    with pytest.raises(BadInput):
        bodies.parse(b"x" * (256 * 1024), JSON)


@pytest.mark.parametrize("content_type", [None, "", "text/html", JSON, "nonsense"])
def test_an_empty_body_is_an_empty_object(content_type: str | None) -> None:
    assert bodies.parse(b"", content_type) == {}


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        (JSON, True),
        ("APPLICATION/JSON;charset=utf-8", True),
        ("application/problem+json", True),
        ("application/json5", False),
        ("application/+json", True),
        ("text/x+json", False),
        ("+json", False),
        (None, False),
    ],
)
def test_other_content_types_are_refused(content_type: str | None, *, read: bool) -> None:
    if read:
        assert bodies.parse(b"{}", content_type) == {}
    else:
        with pytest.raises(BadInput, match="Content-Type must be application/json"):
            bodies.parse(b"{}", content_type)


@given(objects.filter(bool), st.data())
def test_a_duplicate_key_is_refused_at_any_depth(value: dict, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    body = json.dumps(value)[:-1] + f", {json.dumps(name)}: 1}}"
    for raw in (body, f'{{"outer": [{body}]}}'):
        with pytest.raises(BadInput, match="Duplicate key in JSON"):
            bodies.parse(raw.encode(), JSON)


def test_an_invalid_timestamp_names_its_field() -> None:
    assert bodies.moment(None, field="x") is None
    assert bodies.moment("1970-01-01T00:00:01Z", field="x") == 1_000_000
    with pytest.raises(BadInput, match="x must be an RFC 3339 timestamp") as refused:
        bodies.moment("tomorrow", field="x")
    assert refused.value.details == {"field": "x"}


@pytest.mark.parametrize(
    ("kind", "loc", "context", "message"),
    [
        ("missing", ("body", "a"), {}, "a is required"),
        ("string_type", ("body", "a", 0), {}, "a.0 must be a string"),
        ("int_from_float", ("query", "a"), {}, "a must be a whole number"),
        ("literal_error", ("b", "a"), {"expected": "'x' or 'y'"}, "a must be one of 'x', 'y'"),
        ("too_long", ("b", "a"), {"max_length": 3}, "a must have at most 3 entries"),
        ("string_too_long", ("b", "a"), {"max_length": 3}, "a must have at most 3 characters"),
        ("whatever", ("b", "a"), {}, "a is not valid"),
        ("whatever", ("b",), {}, "body is not valid"),
    ],
)
def test_a_pydantic_error_becomes_a_sentence_that_names_the_field(
    kind: str, loc: tuple[str | int, ...], context: dict, message: str
) -> None:
    assert bodies.explain([{"type": kind, "loc": loc, "ctx": context}]).message == message
