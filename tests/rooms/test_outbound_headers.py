"""The headers that a caller may choose, and those that a request can have."""

from __future__ import annotations

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.outbound.headers import can_be_sent, check_custom

RESERVED = [
    *(
        "Host",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
    ),
    *("Content-Length", "Content-Type", "Content-X", "Proxy-Authorization", "Proxy-X"),
    *("Date", "User-Agent", "webhook-id", "Webhook-X", "X-Chorus-Event", "x-chorus-x"),
    *("user_agent", "x_chorus_event", "Transfer_Encoding", "CONTENT_TYPE"),
]


def refusal(headers: dict[str, str], field: str = "headers") -> str:
    with pytest.raises(BadInput) as refused:
        check_custom(headers, field=field)
    assert refused.value.details == {"field": field}
    return refused.value.message


def test_custom_headers_are_returned_unchanged() -> None:
    headers = {"X-Token": "a b", "authorization": "!", "X-Userx": "~", "x!#$%&'*+-.^_`|~9": "1"}

    assert check_custom(headers) == headers
    assert check_custom(None) == {}


@pytest.mark.parametrize("name", RESERVED)
def test_headers_of_the_connection_and_of_gatehouse_cannot_be_set(name: str) -> None:
    assert refusal({name: "v"}) == f"headers must not set {name}"


def test_at_most_twenty_headers_are_accepted() -> None:
    headers = {f"X-{number}": "v" for number in range(20)}

    assert check_custom(headers) == headers
    assert refusal(headers | {"X-More": "v"}) == "headers must have at most 20 entries"


def test_a_name_has_at_most_128_characters_that_http_allows() -> None:
    assert check_custom({"x" * 128: "v"})
    for name in ("x" * 129, "", "a b", "a:", "a\n", "ä", "(a)"):
        message = refusal({name: "v"}, field="things")
        assert message.startswith(
            "things must have names of 1 to 128 characters that HTTP allows: "
        )
        assert message.isprintable()
        assert message.isascii()


def test_a_refused_name_is_shown_in_64_characters_at_most() -> None:
    assert refusal({"y" * 200: "v"}).endswith(": " + "y" * 64)


def test_a_name_can_be_set_once_in_any_case() -> None:
    assert refusal({"X-A": "1", "x-a": "2"}) == "headers must not set x-a twice"


@pytest.mark.parametrize("value", ["", " a", "a ", "\t", "a\tb", "a\n", "é", "\x7f", "s" * 1_025])
def test_a_value_out_of_range_is_refused_without_being_shown(value: str) -> None:
    assert refusal({"X-A": value}) == (
        "headers must have values of 1 to 1024 printable ASCII characters: X-A"
    )


def test_a_value_has_at_most_1024_characters() -> None:
    assert check_custom({"X-A": "s" * 1_024, "X-B": "!~"})


def test_a_request_can_have_64_different_headers() -> None:
    headers = {f"X-{number}": "" for number in range(64)}

    assert can_be_sent(headers)
    assert not can_be_sent(headers | {"X-More": ""})
    assert not can_be_sent({"X-A": "", "x-a": ""})


def test_a_header_that_a_caller_cannot_choose_can_be_sent_by_gatehouse() -> None:
    assert can_be_sent(
        {"User-Agent": "Gatehouse", "webhook-id": "1", "Content-Type": "a", "Date": "b"}
    )
