"""The files of the click log as they lie on disk."""

import mmap
from typing import Final

LEDGER_BYTES: Final[int]

class Mapping:
    """A mapped file, which is exported for as long as this object lives."""

    size: int
    is_writable: bool

class SegmentMap(Mapping):
    """A segment; raises wire.FormatError for what is none of this version."""

    writer: int
    number: int
    edge_id: str
    created_ms: int
    is_closed: bool
    noted: tuple[int, int]
    """Clicks and unknown codes in it, by its writer's count when it was closed."""

    def __init__(self, mapping: mmap.mmap | bytearray, is_writable: bool = False) -> None: ...
    @staticmethod
    def format(mapping: mmap.mmap | bytearray, writer: int, number: int, edge_id: str) -> SegmentMap:
        """Make a new segment of bytes that are all zero; ValueError for a size that none can have."""

    def frames(self, first: int = 0) -> list[tuple[int, int]]:
        """Start and end of the sealed frames, from number `first` on. They do not change, but more may come.

        Raises wire.FormatError for a table that makes no sense.
        """

    def body(self, start: int, end: int) -> bytes:
        """The bytes of a frame, as wire.click reads them."""

    def repair(self) -> tuple[int, int]:
        """Seal what a dead writer left whole behind its last frame, and make torn frames readable.

        The clicks and the unknown codes that are there then. May be done any number of times.
        """

    used: int
    """Bytes of the file that are needed: all of them until it is closed."""

    def close(self) -> None:
        """Note that nothing will be appended."""

class LedgerMap(Mapping):
    """The page of a ledger; raises wire.FormatError for what is none of this version."""

    writer: int
    edge_id: str
    started_ms: int
    boot: bytes
    """The machine's boot in which it was written."""
    segment: int
    """The segment under way; those below it are counted."""
    checked: int
    """Recovery is through with the segments below it."""

    def __init__(self, mapping: mmap.mmap | bytearray, is_writable: bool = False) -> None: ...
    @staticmethod
    def format(mapping: mmap.mmap | bytearray, writer: int, edge_id: str, started_ms: int, boot: bytes) -> LedgerMap:
        """Make a new ledger of bytes that are all zero."""

    def read(self) -> tuple[int, int, dict[str, int], int]:
        """Recorded clicks and unknown codes, dropped clicks by reason, dropped unknown codes."""

    def settle(self, number: int, found: tuple[int, int], noted: tuple[int, int]) -> None:
        """Count a repaired segment of a dead writer, once, in the order of their numbers.

        `found` are its clicks and unknown codes; `noted` is how many its own header says, for want of a better count:
        the ledger has those of the last ones that were closed. What is missing was torn.
        """
