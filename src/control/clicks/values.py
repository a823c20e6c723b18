"""The values of dimensions as small numbers: the same text has the same number until the table is emptied."""

import re
from typing import Final

VALUE_BYTES_MAX: Final = 64
# What would break a line of a log, a CSV file or a page: controls, separators, marks that turn the direction of text.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Values:
    """`texts` by number; 0 is "", which stands for unknown too.

    `clear` puts another list in the place of `texts`: who keeps the old one can still read the numbers that he has.
    """

    def __init__(self, values_max: int) -> None:
        self.texts = [""]
        self.dropped = 0
        self._numbers = {"": 0}
        self._values_max = values_max

    def __len__(self) -> int:
        return len(self.texts)

    def number(self, text: str) -> int:
        """The number of `text`, cleaned and cut; 0 when the table can hold no more, which `dropped` counts."""
        number = self._numbers.get(text)
        return number if number is not None else self._enter(clean(text))

    def clear(self) -> None:
        """Forget every value: their numbers mean nothing from now on."""
        self.texts = [""]
        self._numbers = {"": 0}

    def _enter(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is not None:
            return number
        if len(self.texts) >= self._values_max:
            self.dropped += 1
            return 0
        self.texts.append(text)
        self._numbers[text] = len(self.texts) - 1
        return len(self.texts) - 1


def clean(text: str, bytes_max: int = VALUE_BYTES_MAX) -> str:
    """`text` on one line and of at most `bytes_max` bytes, cut between two characters."""
    text = _CONTROLS.sub(" ", text).strip()
    # A lone surrogate is in no UTF-8; "replace" turns it into a question mark.
    data = text.encode("utf-8", "replace")
    return data[:bytes_max].decode("utf-8", "ignore").rstrip()
