"""Texts are judged by code point, the same on every interpreter."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.text import MESSAGE_PATTERN, is_message, is_plain, plain
from support.aws.resources import ROOT

REFUSED = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x2028, 0x2029),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
]


@pytest.mark.parametrize(
    "text",
    [
        "山田\u3000太郎",  # an ideographic space
        "\U0001f469\u200d\U0001f4bb",  # an emoji with a joiner
        "\u2764\ufe0f",  # a variation selector
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",  # a flag of emoji tags
        "a\u200c\u200db",  # joiners, as in Persian and Hindi
        "a\u00a0b\u2009c\u202fd",  # spaces
        "\u200e\u200f\u061c",  # marks of direction, which embed nothing
        "\U0001fae9",  # newer than Python 3.11 knows
        "\ue000\U0010ffff\ufffe\u0378",  # private, no character, not assigned
        "soft\u00adhyphen\ufeff",
    ],
)
def test_a_text_may_have_everything_that_unicode_can_show(text: str) -> None:
    assert is_plain(text)
    assert plain(text) == text


def test_exactly_the_published_code_points_are_refused() -> None:
    assert [code for code in range(0x110000) if not is_plain(chr(code))] == REFUSED
    controls = {code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"}
    assert controls <= set(REFUSED)


@given(st.text(st.characters()), st.sampled_from(REFUSED), st.text(st.characters()))
def test_one_refused_character_anywhere_refuses_the_text(
    before: str, code: int, after: str
) -> None:
    text = before + chr(code) + after
    assert not is_plain(text)
    assert is_plain(plain(text))
    assert len(plain(text)) == len(text)


def test_a_message_may_have_tabs_and_line_breaks_and_nothing_else_that_is_refused() -> None:
    refused = [code for code in range(0x110000) if not is_message(chr(code))]
    assert refused == [code for code in REFUSED if chr(code) not in "\t\n"]
    assert is_message("Windows\r\nlines\r\n\r\n")
    for text in ("\r", "\n\r", "\r\r\n", "a\rb", "\x1b[2J\r\n"):
        assert not is_message(text)


@given(st.text(st.sampled_from("a\u3000 \t\n\r\x00\x0b\x7f\u2028\u202e"), max_size=6))
def test_the_pattern_of_messages_says_what_is_checked(text: str) -> None:
    described = re.fullmatch(MESSAGE_PATTERN, text) is not None
    assert described == (is_message(text) and text.strip() != "")


def test_no_module_asks_the_interpreter_which_characters_it_knows() -> None:
    """`isprintable` and its like follow the interpreter's version of Unicode."""
    asked = re.compile(r"\.(isprintable|isalnum|isalpha|isnumeric|isidentifier)\(|unicodedata")
    places = [
        *(ROOT / "layers/gatehouse/python").rglob("*.py"),
        *(ROOT / "functions").rglob("*.py"),
    ]
    assert not [str(one) for one in places if asked.search(one.read_text())]
