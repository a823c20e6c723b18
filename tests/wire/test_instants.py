"""Instants of links in their records: the same milliseconds, whoever makes the record."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from control.projection.model import write_of
from edge import origin
from tests.control.moves.copied import link
from wire import record
from wire.record import LinkRecord

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_US = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


@given(st.integers(0, LAST_US), st.integers(-14 * 60, 14 * 60))
@example(1_089_718_697_172_000, 0)  # by floats a millisecond less
@example(215_450_363_451_785_999, 0)  # by floats a millisecond more
@example(LAST_US, 0)
def test_an_instant_is_rounded_down_to_a_millisecond(us: int, offset_min: int) -> None:
    """Exactly, in every time zone; a link is said to end at it by projection and by the origin alike."""
    instant = EPOCH + timedelta(microseconds=us)
    if 86_400_000_000 < us < LAST_US - 86_400_000_000:
        instant = instant.astimezone(timezone(timedelta(minutes=offset_min)))
    assert record.milliseconds(instant) == us // 1000
    row = link(1, not_after=instant)
    projected = record.decode(write_of(row).data)
    assert isinstance(projected, LinkRecord)
    assert projected.not_after_ms == us // 1000
    assert origin.encode(row) == write_of(row).data


def test_no_instant_is_none() -> None:
    """A link that begins at once, or never ends."""
    assert record.milliseconds(None) is None
