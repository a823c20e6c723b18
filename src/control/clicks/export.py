"""Exports: CSV and JSON, streamed in constant memory however long they are.

A series is made of documents, some days at a time. Rows are written by PostgreSQL itself (COPY … TO STDOUT) over a
connection of their own, and passed on as the client takes them: a chunk is asked for when there is room for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from control.clicks import queries, rows_query, statistics
from control.clicks import span as spans
from control.clicks._fold import summarise
from control.clicks.queries import ACCOUNT, Subject
from control.clicks.span import Span, Unit
from control.clicks.statistics import Point
from control.db import Database
from control.errors import Error
from control.streaming import Stream

Format = Literal["csv", "json", "ndjson"]
CONTENT_TYPES: Final[dict[Format, bytes]] = {
    "csv": b"text/csv; charset=utf-8",
    "json": b"application/json",
    "ndjson": b"application/x-ndjson",
}
# Each has a connection to PostgreSQL beside the pool, and a snapshot that keeps old rows from being removed.
EXPORTS_MAX: Final = 4
EXPORT_S_MAX: Final = 3600.0
# asyncpg hands on what one read of the socket brought, up to 256 KB.
_CHUNKS_MAX: Final = 4
# Ten years; whoever waits for a file does not mind that it takes a second.
DAYS_MAX: Final = 3660
_DAYS_AT_ONCE: Final = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series to export: of whom, and how it is cut."""

    subject: Subject
    span: Span
    unit: Unit


class Exports:
    """The exports of this process; those of rows are bounded in number."""

    def __init__(self, database: Database, *, are_rows_kept: bool) -> None:
        self._database = database
        self._are_rows_kept = are_rows_kept
        self._rows_under_way = 0

    async def series(self, wanted: Series, kind: Format) -> Stream:
        """Hours or days with their clicks."""
        head = b"at,humans,bots\n" if kind == "csv" else b""
        lines = _csv_lines if kind == "csv" else _json_lines
        async with aclosing(_framed(self._series_chunks(wanted, lines), kind)) as chunks:
            async for chunk in chunks:
                yield head + chunk  # together: without PostgreSQL nothing is sent
                head = b""

    async def rows(self, subject: Subject, span: Span, kind: Format) -> Stream:
        """Single clicks, of a link or of the account; raises Error("rows_not_kept") or Error("too_many_exports")."""
        if not self._are_rows_kept:
            raise Error(
                "rows_not_kept", "single clicks are not kept (POINTSMAN_CLICKS_RAW); export what=series instead"
            )
        if self._rows_under_way >= EXPORTS_MAX:
            raise Error("too_many_exports", f"{EXPORTS_MAX} exports of rows are under way already; try again later")
        self._rows_under_way += 1
        try:
            query = rows_query.of(is_csv=kind == "csv", is_of_link=subject != ACCOUNT)
            instants = [datetime.fromtimestamp(quarter * spans.QUARTER_S, UTC) for quarter in (span.start, span.end)]
            arguments = instants if subject == ACCOUNT else [*instants, subject.id]
            copied = self._copied(query, arguments, rows_query.options(is_csv=kind == "csv"))
            async with aclosing(_framed(copied, kind)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._rows_under_way -= 1

    async def _series_chunks(self, wanted: Series, lines: Callable[[Sequence[Point]], bytes]) -> Stream:
        for part in spans.parts(wanted.span, _DAYS_AT_ONCE):
            async with self._database.connection() as connection:
                documents = await queries.documents(connection, wanted.subject, part)
            yield lines(statistics.points(part, wanted.unit, summarise(documents).slots))

    async def _copied(self, query: str, arguments: Sequence[Any], options: dict[str, Any]) -> Stream:
        """What COPY of the query gives, as it comes, at most _CHUNKS_MAX chunks ahead of who takes them."""
        chunks: asyncio.Queue[bytes] = asyncio.Queue(_CHUNKS_MAX)

        async def put(data: bytes | bytearray) -> None:
            await chunks.put(bytes(data))

        async def copy() -> None:
            async with self._database.dedicated() as connection:
                await connection.execute("SET default_transaction_read_only = on")
                try:
                    await connection.copy_from_query(query, *arguments, output=put, timeout=EXPORT_S_MAX, **options)
                except TimeoutError as error:
                    raise Error("export_too_long", f"it took {EXPORT_S_MAX:.0f} s; ask for it in parts") from error

        copying = asyncio.create_task(copy())
        try:
            while (chunk := await _next_chunk(chunks, copying)) is not None:
                yield chunk
        finally:
            copying.cancel()
            await asyncio.wait((copying,))


async def _next_chunk(chunks: asyncio.Queue[bytes], copying: "asyncio.Task[None]") -> bytes | None:
    """The next chunk; None after the last one. Raises what ended the copying before its time."""
    if chunks.empty() and not copying.done():
        taking = asyncio.ensure_future(chunks.get())
        try:
            await asyncio.wait((taking, copying), return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
        finally:
            taking.cancel()
    if not chunks.empty():
        return chunks.get_nowait()
    copying.result()
    return None


async def _framed(chunks: Stream, kind: Format) -> Stream:
    """Chunks of whole lines as they are, or as one JSON array: with commas at the ends of lines, but for the last."""
    async with aclosing(chunks):
        if kind != "json":
            async for chunk in chunks:
                yield chunk
            return
        before = b"[\n"
        async for chunk in chunks:
            yield before + chunk[:-1].replace(b"\n", b",\n")
            before = b",\n"
        yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _csv_lines(points: Sequence[Point]) -> bytes:
    return "".join(f"{_rfc3339(point.at)},{point.humans},{point.bots}\n" for point in points).encode()


def _json_lines(points: Sequence[Point]) -> bytes:
    return b"".join(msgspec.json.encode(point) + b"\n" for point in points)


def _rfc3339(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
