"""Time is stored in whole microseconds and shown as RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import clock

moments = st.integers(-30_610_224_000 * clock.SECOND, clock.LATEST)  # the years 1000 to 9999


@given(moments)
def test_a_formatted_time_is_parsed_back_to_the_millisecond(moment: int) -> None:
    text = clock.rfc3339(moment)
    assert len(text) == 24
    assert clock.parse(text) == moment // 1000 * 1000


@given(st.datetimes(timezones=st.timezones()).filter(lambda at: 2 <= at.year <= 9998))
def test_a_time_in_any_offset_is_the_same_time(at: datetime) -> None:
    text = at.isoformat()
    if at.utcoffset() is not None and at.utcoffset().total_seconds() % 60:  # type: ignore[union-attr]
        return  # RFC 3339 has no offsets with seconds
    whole = at.astimezone(UTC).replace(microsecond=0)
    assert clock.parse(text) == int(whole.timestamp()) * clock.SECOND + at.microsecond


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("9999-12-31T23:59:59Z", clock.LATEST),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * clock.SECOND),
    ],
)
def test_rfc_3339_texts_are_parsed(text: str, moment: int) -> None:
    assert clock.parse(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00Z",
        "2030-01-01T00:00:00.Z",
        "2030-01-01T00:00:00,5Z",
        "2030-01-01T00:00:00.0000000000Z",
        "2030-13-01T00:00:00Z",
        "2030-02-29T00:00:00Z",
        "2030-01-01T25:00:00Z",
        "2030-01-01T00:60:00Z",
        "2030-01-01T00:00:61Z",
        "2030-01-01T00:00:00+25:00",
        "2030-01-01T00:00:00+0100",
        "2030-W01-1T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "2030-01-01T00:00:00Z\n",
        " 2030-01-01T00:00:00Z",
        "\uff12030-01-01T00:00:00Z",
        "1" * 100_000,
    ],
)
def test_texts_that_are_not_rfc_3339_raise_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        clock.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_raises_value_error(text: str) -> None:
    try:
        clock.parse(text)
    except ValueError:
        return


@given(moments)
def test_seconds_are_rounded_up_and_never_negative(span: int) -> None:
    seconds = clock.ceil_seconds(span)
    if span <= 0:
        assert seconds == 0
    else:
        assert seconds - 1 < span / clock.SECOND
        assert seconds * clock.SECOND >= span
