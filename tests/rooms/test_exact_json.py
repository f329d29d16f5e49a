"""JSON whose numbers stay as they were written."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import exact_json
from gatehouse.core.exact_json import WrittenNumber
from gatehouse.web import bodies

NUMBERS = [
    *("0", "-0", "1", "-1", "0.0", "-0.0", "0.10", "1.0", "1E5", "1e5", "1e+5", "1e-400", "1e400"),
    *(
        "0.1000000000000000055511151231257827",
        "12345678901234567890.123456789012345678901234567890",
    ),
    *("9007199254740993", "1" * 1_000, "-" + "9" * 999, "3." + "1" * 998, "1e" + "9" * 998),
]
digits = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})([.][0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
).filter(str.isascii)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_stays_as_it_was_written(number: str) -> None:
    text = f'{{"n":{number},"in":[{number},{{"a":{number}}}]}}'
    assert exact_json.dumps(exact_json.loads(text)) == text
    assert exact_json.dumps(bodies.parse(text.encode(), "application/json")) == text


@given(digits)
def test_every_number_that_json_has_stays_as_it_was_written(number: str) -> None:
    assert exact_json.dumps(exact_json.loads(f"[{number}]")) == f"[{number}]"


@given(values)
def test_everything_else_is_written_as_json_does(value: object) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert exact_json.dumps(value) == compact
    ascii_only = json.dumps(value, separators=(",", ":"), sort_keys=True)
    assert exact_json.dumps(value, sort_keys=True, ascii_only=True) == ascii_only


def test_a_written_number_is_equal_where_it_is_written_the_same() -> None:
    assert WrittenNumber("0.1") == WrittenNumber("0.1") == 0.1
    assert WrittenNumber("0.1") != WrittenNumber("0.10")
    assert len({WrittenNumber("0.5"), WrittenNumber("0.5"), 0.5}) == 1


def test_a_copy_of_a_written_number_has_its_text() -> None:
    number = WrittenNumber("0.10")
    for again in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):  # noqa: S301
        assert again.text == "0.10"


def test_what_json_does_not_have_is_refused() -> None:
    for value in (float("nan"), float("inf"), object(), b"x", {1, 2}):
        with pytest.raises((TypeError, ValueError)):
            exact_json.dumps([value])
