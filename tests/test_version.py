"""Times and the intervals in which versions are valid."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidRequest
from model.operation import Version
from model.version import MAX_TIME, MIN_TIME, format_time, intervals, next_valid_from, parse_time, valid_at

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

times = st.integers(MIN_TIME, MAX_TIME)


@given(st.lists(st.integers(-10, 10), min_size=1))
def test_times_strictly_increase_whatever_the_clocks_say(clocks: list[int]) -> None:
    previous: int | None = None
    for now in clocks:
        valid_from = next_valid_from(now, previous)
        assert valid_from >= now
        assert previous is None or valid_from > previous
        assert valid_from == now or valid_from == (previous or 0) + 1
        previous = valid_from


@given(times)
def test_a_time_written_and_read_is_the_same(us: int) -> None:
    text = format_time(us)
    assert parse_time(text) == us
    assert len(text) == 27
    assert text.endswith("Z")


@given(times, times)
def test_written_times_sort_as_the_times_do(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_agrees_with_datetime(moment: datetime) -> None:
    moment = moment.replace(fold=0)
    minutes = moment.utcoffset()
    assert minutes is not None
    if minutes % timedelta(minutes=1):
        return  # local mean time, with seconds in its offset, which RFC 3339 cannot write
    us = (moment - EPOCH) // timedelta(microseconds=1)
    if MIN_TIME <= us <= MAX_TIME:
        assert parse_time(moment.isoformat(timespec="microseconds")) == us
        assert format_time(us) == moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1970-01-01T00:00:00.000000999Z", 0),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T01:30:00+01:30", 0),
        ("1969-12-31T22:30:00-01:30", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T23:59:00+23:59", 0),
        ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),  # RFC 3339, 5.8
        ("1996-12-19T16:39:57-08:00", 851_042_397_000_000),  # RFC 3339, 5.8
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("0001-01-01T00:00:00Z", MIN_TIME),
        ("9999-12-31T23:59:59.999999Z", MAX_TIME),
    ],
)
def test_times_that_are_read(text: str, us: int) -> None:
    assert parse_time(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00 01:00",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00Z\n",
        " 2026-01-31T12:00:00Z",
        "2026-1-31T12:00:00Z",
        "20260131T120000Z",
        "2026-W05-6T12:00:00Z",
        "12026-01-31T12:00:00Z",
        "-2026-01-31T12:00:00Z",
        "0000-01-31T12:00:00Z",
        "2026-00-31T12:00:00Z",
        "2026-13-31T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-01-32T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "1990-12-31T23:59:60Z",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+01:60",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+1:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "\u0662026-01-31T12:00:00Z",
        "1769860800",
    ],
)
def test_texts_that_are_not_times_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_time(text)


@pytest.mark.parametrize("text", ["hunter2", "7777-77-77T00:00:00Z", "2026-01-31T12:00:00+77:00"])
def test_a_refusal_does_not_repeat_the_text(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_time(text)
    assert "hunter2" not in caught.value.detail
    assert "77" not in caught.value.detail


@given(st.text())
def test_no_text_makes_reading_fail_otherwise(text: str) -> None:
    with suppress(InvalidRequest):
        parse_time(text)


@pytest.mark.parametrize("us", [MIN_TIME - 1, MAX_TIME + 1, 2**70])
def test_a_time_outside_the_calendar_cannot_be_written(us: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_time(us)


def test_the_bounds_are_those_of_the_calendar() -> None:
    assert format_time(MIN_TIME) == "0001-01-01T00:00:00.000000Z"
    assert format_time(MAX_TIME) == "9999-12-31T23:59:59.999999Z"


def test_versions_are_valid_until_the_next_one_is() -> None:
    assert intervals([]) == ()
    assert intervals([(1, 10)]) == (Version(1, 10, None),)
    assert intervals([(1, 10), (2, 25), (4, 26)]) == (Version(1, 10, 25), Version(2, 25, 26), Version(4, 26, None))


@given(st.lists(st.integers(0, 30), min_size=1, unique=True).map(sorted), st.integers(-5, 40))
def test_the_version_valid_at_a_time_is_the_one_whose_interval_holds_it(valid_froms: list[int], at: int) -> None:
    versions = intervals(list(enumerate(valid_froms, start=1)))
    holding = [version for version in versions if version.valid_from <= at and (version.valid_to is None or at < version.valid_to)]
    assert len(holding) == (at >= valid_froms[0])
    assert valid_at(versions, at) == (holding[0] if holding else None)


def test_there_is_no_version_where_there_are_none() -> None:
    assert valid_at((), 5) is None


def test_an_offset_is_taken_from_the_time_of_day_and_not_added() -> None:
    east = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert parse_time("2026-01-31T12:00:00+05:30") == (east - EPOCH) // timedelta(microseconds=1)
