"""What an edge has recorded, read from its files as a shipper reads them."""

from pathlib import Path

from edge import ledger, segment
from edge.ledger import Ledger
from edge.segment import Segment
from wire import click
from wire.click import Click
from wire.report import Report


def directory_of(state_dir: Path) -> Path:
    """Where an edge's clicks are."""
    return segment.directory_of(str(state_dir))


def segments(directory: Path) -> list[Segment]:
    """All segments, by writer and number."""
    return [
        Segment.open(segment.path_of(directory, writer, number))
        for writer in ledger.writers(directory)
        for number in segment.numbers(directory, writer)
    ]


def clicks_of(read: Segment) -> list[Click]:
    """The clicks in the sealed frames of a segment."""
    return [found for start, end in read.frames() for found in click.decode(read.body(start, end))]


def recorded(state_dir: Path) -> list[Click]:
    """The clicks in all sealed frames of an edge."""
    return [found for read in segments(directory_of(state_dir)) for found in clicks_of(read)]


def reports(state_dir: Path) -> list[Report]:
    """What each writer of an edge has counted so far."""
    made = []
    for writer in ledger.writers(directory_of(state_dir)):
        with Ledger.open(ledger.path_of(directory_of(state_dir), writer)) as books:
            made.append(books.report(0))
    return made


def recover_all(state_dir: Path) -> list[Report]:
    """Make whole what dead writers have left; their final reports."""
    made = []
    for writer in ledger.writers(directory_of(state_dir)):
        assert not ledger.is_alive(ledger.path_of(directory_of(state_dir), writer))
        with Ledger.open(ledger.path_of(directory_of(state_dir), writer), is_writable=True) as books:
            segment.recover(directory_of(state_dir), books)
            made.append(books.report(0, is_final=True))
    return made
