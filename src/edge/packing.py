"""A frame as the value of a stream's entry: compressed where it pays.

A frame has each text only once, so deflate finds half of what it would find in a log: level 1 leaves about two fifths.
It costs some 2 ms for a full frame, several times what the rest of its way costs the edge. So `auto` compresses as long
as frames are few, when it costs next to nothing, and leaves it when they are many: then the processor is what is short,
and a stream is emptied at once. What is sent again may have another codec than before; its body is the same.
"""

from typing import Final

from wire import frame as wire_frame
from wire.frame import Frame

# Frames of less gain nothing: the table of a compressed one has about a hundred bytes.
BYTES_MIN: Final = 512
# Of the body, in a second: eight full frames, about 2 % of a core.
BYTES_PER_S: Final = 1 << 20


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
