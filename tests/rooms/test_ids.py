"""Ids sort by time; a cursor belongs to one listing of one account."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import ids
from gatehouse.core.clock import LATEST
from gatehouse.core.errors import BadInput

SECRET = "stack-MainTable-1ABC2DEF3GHI"
moments = st.integers(0, LATEST)
names = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20)
# Every listing is sorted by ids.
positions = st.uuids().map(str)


@given(moments)
def test_an_id_is_a_uuid_of_version_7_with_its_creation_time(moment: int) -> None:
    made = UUID(ids.new(moment))
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == moment // 1000


@given(moments, st.integers(1_000, 10**12))
def test_ids_sort_by_the_millisecond_of_their_creation(moment: int, later: int) -> None:
    assert ids.new(moment) < ids.new(moment + later)


@given(moments)
def test_the_creation_time_of_an_id_can_be_read(moment: int) -> None:
    assert ids.moment_of(ids.new(moment)) == moment // 1000 * 1000


@given(moments, st.integers(1_000, 10**12))
def test_ids_of_a_time_and_later_sort_after_its_lowest_id(moment: int, later: int) -> None:
    lowest = ids.lowest(moment)
    assert ids.read(lowest) == lowest
    assert UUID(lowest).version == 7
    assert lowest <= ids.new(moment) < ids.lowest(moment + later) <= ids.new(moment + later)


def test_ids_of_one_millisecond_differ() -> None:
    assert len({ids.new(0) for _ in range(5_000)}) == 5_000


@given(st.uuids())
def test_an_id_is_read_with_or_without_its_kind_in_any_case(made: UUID) -> None:
    text = str(made)
    assert ids.read(text) == text
    assert ids.read(text.upper()) == text
    assert ids.read(f"api_key:{text}", kind="api_key") == text
    assert ids.read(text, kind="api_key") == text
    assert ids.read(f"api_key:{text}") is None
    assert ids.read(f"identity:{text}", kind="api_key") is None
    assert ids.read(f"api_key:api_key:{text}", kind="api_key") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0190a3c47d527b1e9c1e2f3a4b5c6d7e",
        "{0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e}",
        "urn:uuid:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7",
        "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e0",
        "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e\n",
        " 0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7g",
        "\u0660190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "0190a3c4_7d52_7b1e_9c1e_2f3a4b5c6d7e",
    ],
)
def test_a_text_that_is_not_a_canonical_uuid_is_none(text: str) -> None:
    assert ids.read(text) is None
    assert ids.read(f"api_key:{text}", kind="api_key") is None


@given(names, names, positions)
def test_a_cursor_is_read_back_as_its_position(listing: str, account: str, position: str) -> None:
    cursor = ids.cursor(listing, account, position, secret=SECRET)
    assert cursor.isascii()
    assert ids.read_cursor(listing, account, cursor, secret=SECRET) == position


@given(names, names, positions, names)
def test_a_cursor_of_another_list_or_account_is_refused(
    listing: str, account: str, position: str, other: str
) -> None:
    cursor = ids.cursor(listing, account, position, secret=SECRET)
    for wrong in ((other, account), (listing, other), (account, listing)):
        if wrong == (listing, account):
            continue
        with pytest.raises(BadInput):
            ids.read_cursor(*wrong, cursor, secret=SECRET)


@given(st.text(max_size=80))
def test_an_invented_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        ids.read_cursor("list", "account", text, secret=SECRET)
    assert refused.value.details == {"field": "after"}


@pytest.mark.parametrize(
    "text", ["A" * 513, "A" * 100_000, "=", "====", "A", "\u2603", "AAAA AAAA"]
)
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        ids.read_cursor("list", "account", text, secret=SECRET)


@given(names.filter(bool), st.data())
def test_a_tampered_cursor_is_refused(position: str, data: st.DataObject) -> None:
    cursor = ids.cursor("list", "account", position, secret=SECRET)
    at = data.draw(st.integers(0, len(cursor) - 2))
    other = data.draw(st.sampled_from("ABCDab01-_").filter(lambda char: char != cursor[at]))
    with pytest.raises(BadInput):
        ids.read_cursor("list", "account", cursor[:at] + other + cursor[at + 1 :], secret=SECRET)


@pytest.mark.parametrize("position", ["zzz", "HEAD", "", "0190A3C4-7D52-7B1E-9C1E-2F3A4B5C6D7E"])
def test_a_cursor_whose_position_is_not_an_id_is_refused(position: str) -> None:
    """Every list is sorted by ids, so another position would be a bug of ours."""
    cursor = ids.cursor("admin:audit", "account", position, secret=SECRET)

    with pytest.raises(BadInput):
        ids.read_cursor("admin:audit", "account", cursor, secret=SECRET)


def test_a_cursor_that_another_stack_signed_is_refused() -> None:
    position = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
    cursor = ids.cursor("list", "account", position, secret="another table")
    with pytest.raises(BadInput):
        ids.read_cursor("list", "account", cursor, secret=SECRET)


def test_a_cursor_made_up_without_the_secret_is_refused() -> None:
    position = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
    text = f"list\naccount\n{position}".encode()
    for tag in (hashlib.sha256(text).digest()[:16], hmac.digest(b"", text, "sha256")[:16], b""):
        made_up = base64.urlsafe_b64encode(tag + position.encode()).decode().rstrip("=")
        with pytest.raises(BadInput):
            ids.read_cursor("list", "account", made_up, secret=SECRET)


def test_a_cursor_is_accepted_in_the_spelling_in_which_it_was_made_only() -> None:
    position = ids.new(1_800_000_000_000_000)
    cursor = ids.cursor("list", "account", position, secret=SECRET)
    # 52 bytes are 70 characters, of which the last carries four bits that decoders ignore.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(cursor[-1])
    assert last % 16 == 0
    twin = (
        cursor[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last + 1]
    )
    for spelled in (
        cursor + "=",
        cursor + "==",
        cursor + "====",
        twin,
        f" {cursor}",
        cursor + "\n",
    ):
        with pytest.raises(BadInput):
            ids.read_cursor("list", "account", spelled, secret=SECRET)
    assert ids.read_cursor("list", "account", cursor, secret=SECRET) == position
