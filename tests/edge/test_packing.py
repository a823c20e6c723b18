"""Frames are compressed while they are few; whatever the codec, the body is the same."""

import pytest

from edge.packing import BYTES_MIN, BYTES_PER_S, Packing
from wire import frame
from wire.click import FRAME_BYTES_MAX, Click, encode
from wire.errors import FormatError
from wire.frame import Frame

BODY = encode(
    Click(time_ms=n, link_id=n, domain_id=1, status=302, user_agent=b"agent %d" % (n % 50), address=b"abcd")
    for n in range(1, 2000)
)


def frame_of(body: bytes = BODY) -> Frame:
    """A frame."""
    return Frame(edge_id="test", writer=1, segment=0, start=4096, created_ms=1, body=body)


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_body_is_the_same_whatever_the_codec(mode: str) -> None:
    """And `never` sends it as it is."""
    data = Packing(mode).pack(frame_of(), 0)
    assert frame.decode(data) == frame_of()
    assert (len(data) < len(BODY)) == (mode != "never")


def test_auto_leaves_it_when_frames_are_many() -> None:
    """As many bytes as may be compressed in a second; after half a second half as many again."""
    packing = Packing("auto")
    possible = BYTES_PER_S // len(BODY)
    small = [len(packing.pack(frame_of(), 0)) < len(BODY) for _ in range(possible + 5)]
    assert small == [True] * possible + [False] * 5
    again = [len(packing.pack(frame_of(), 500)) < len(BODY) for _ in range(possible)]
    assert possible // 2 <= sum(again) <= possible // 2 + 1


def test_small_frames_and_such_as_do_not_shrink_are_sent_as_they_are() -> None:
    """Deflate would make them larger."""
    noise = bytes((n * n * 7919 + n // 3) % 256 for n in range(BYTES_MIN - 4))
    assert len(Packing("always").pack(frame_of(noise), 0)) == len(noise) + 36 + 4


def test_body_that_no_frame_can_have_is_refused() -> None:
    """The caller sets it aside."""
    with pytest.raises(FormatError, match="can be held"):
        Packing("auto").pack(frame_of(bytes(FRAME_BYTES_MAX + 4)), 0)
