"""A frame as the value of a stream's entry: compressed where it pays.

A frame has each text only once; what deflate still finds are instants, ids and texts that resemble one another. Level 1
leaves 28 % of a full frame (130 KB, 1,300 clicks) in 0.8 ms, and 46 % of one of five clicks; level 6 leaves 25 % in
9.6 ms. 0.8 ms are twenty times what the rest of the packing costs, and it is the memory of shards that is saved. So
`auto` compresses as long as frames are few, and leaves it when they are many: after an outage the backlog is to go as
fast as it can. What is sent again may have another codec than before; its body is the same.
"""

from typing import Final

from wire import frame as wire_frame
from wire.frame import Frame

# Frames of less gain nothing: the table of a compressed one has about a hundred bytes.
BYTES_MIN: Final = 512
# Of bodies, in a second: 32 full frames, 40,000 clicks, 2.5 % of a core.
BYTES_PER_S: Final = 1 << 22


class Packing:
    """Decides for each frame; the clock is a parameter."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._tokens = BYTES_PER_S
        self._filled_ms = 0

    def pack(self, frame: Frame, now_ms: int) -> bytes:
        """The value of the entry's field; raises FormatError for a frame that the format cannot hold."""
        if not self._is_worth_it(len(frame.body), now_ms):
            return wire_frame.encode(frame, is_compressed=False)
        small = wire_frame.encode(frame, is_compressed=True)
        return small if len(small) < len(frame.body) else wire_frame.encode(frame, is_compressed=False)

    def _is_worth_it(self, size: int, now_ms: int) -> bool:
        if self._mode == "never" or size < BYTES_MIN:
            return False
        if self._mode == "always":
            return True
        gained = (now_ms - self._filled_ms) * BYTES_PER_S // 1000
        if gained > 0:
            self._tokens = min(BYTES_PER_S, self._tokens + gained)
            self._filled_ms = now_ms
        if self._tokens < size:
            return False
        self._tokens -= size
        return True
