"""Exports: what is in them, that they are whole or torn, and that their length costs no memory."""

import asyncio
import csv
import io
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from control import config, log, server, streaming
from control.clicks import export, partitions, rows_query
from control.clicks import span as spans
from control.clicks.export import EXPORTS_MAX, Exports
from control.clicks.queries import ACCOUNT
from control.clicks.service import Options
from control.clicks.store import begin_merge
from control.db import Database
from control.dev.ports import free_ports
from control.dev.probe import answers_http
from control.errors import Error
from tests.control.clicks.test_api import NOON, click_of, store
from tests.control.conftest import StationFactory
from tests.control.station import DEADLINE_S, SHORT_URL, Station, eventually, fetch, with_database

KEEPING = Options(keeps_rows=True, segments_days=35, dead_frames_max=1000)
STREAMS = 'pointsman_control_streams{route="exportClicks"}'
MANY_ROWS = 1_000_000
# An export is a few chunks of 256 KB; the rest is what an allocator keeps.
MEMORY_BYTES_MAX = 48 * 1024 * 1024
FILL = """
INSERT INTO click_rows
SELECT now() - make_interval(secs => i * 0.001), 1, 1, 302, 0, 0, 'DE', 'Berlin', 'Firefox', 'Linux', 'desktop',
    'example.com', '', '', '', '10.0.0.1', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101', 'https://example.com/'
FROM generate_series(1, $1) AS i
"""


@pytest.fixture
def keeper(station_factory: StationFactory, database_url: str) -> Station:
    """A control plane that keeps single clicks and has made its partitions: making one waits for whoever reads."""
    station = station_factory(database_url, [], POINTSMAN_CLICKS_RAW="on")
    today = datetime.now(UTC).date()
    months = set(partitions.wanted(today - timedelta(days=KEEPING.segments_days), today))

    async def made(database: Database) -> bool:
        async with database.connection() as connection:
            return months <= set(await partitions.existing(connection, partitions.ROWS))

    eventually(lambda: with_database(database_url, made), "partitions")
    return station


def _fill(station: Station, rows: int) -> None:
    """Put in rows, while nobody makes partitions."""

    async def run(database: Database) -> None:
        async with database.transaction() as connection:
            await begin_merge(connection)
            await connection.execute(FILL, rows, timeout=300)

    with_database(station.database_url, run)


def _get(station: Station, path: str, **query: str) -> httpx.Response:
    answer = station.client.get(
        f"/api/v1/{path}/export", params={name.rstrip("_"): text for name, text in query.items()}
    )
    assert answer.status_code == 200, answer.text
    return answer


def _create(station: Station, code: str) -> int:
    answer = station.client.post("/api/v1/links", json={"target": "https://example.com/", "code": code})
    return int(answer.json()["id"])


@pytest.mark.parametrize("unit", ["day", "hour"])
def test_a_series_is_that_of_the_statistics(bare_station: Station, unit: str) -> None:
    """In each format, for a link and for the account."""
    link_id = _create(bare_station, "abc")
    store(bare_station, [click_of(NOON - timedelta(hours=7 * number), link_id) for number in range(50)])
    first, last = (NOON - timedelta(days=20)).date().isoformat(), NOON.date().isoformat()
    query = {"from_": first, "to": last, "tz": "Europe/Berlin", "unit": unit}
    asked = {name.rstrip("_"): text for name, text in query.items()}
    expected = bare_station.client.get("/api/v1/links/abc/clicks", params=asked).json()["series"]
    for path in ("clicks", "links/abc/clicks"):
        assert _get(bare_station, path, format="json", **query).json() == expected
        lines = _get(bare_station, path, format="ndjson", **query).text.splitlines()
        assert [json.loads(line) for line in lines] == expected
        answer = _get(bare_station, path, **query)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["at"], int(row["humans"]), int(row["bots"])) for row in rows] == [
            (point["at"], point["humans"], point["bots"]) for point in expected
        ]
        assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="clicks-abc-series.csv"'


def test_a_series_of_years_is_exported(bare_station: Station) -> None:
    """More than a page of statistics shows."""
    assert len(_get(bare_station, "clicks", from_="2018-01-01", to="2026-12-31", format="json").json()) == 3287


def test_rows_are_the_clicks(keeper: Station) -> None:
    """In each format; only those of the link and the span."""
    one, two = _create(keeper, "one"), _create(keeper, "two")
    store(keeper, [click_of(NOON, one, referrer=b"https://a.example/x"), click_of(NOON, two, "bot")], KEEPING)
    store(keeper, [click_of(NOON - timedelta(days=300), one)], KEEPING)
    (row,) = csv.DictReader(io.StringIO(_get(keeper, "links/one/clicks", what="rows").text))
    assert tuple(row) == rows_query.COLUMNS
    assert row["at"] == NOON.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (row["domain"], row["code"], row["class"], row["status"]) == ("go.example", "one", "human", "302")
    assert (row["browser"], row["referrer"], row["address"]) == ("Firefox", "a.example", "0.0.0.1")
    listed = _get(keeper, "clicks", what="rows", format="json").json()
    assert {line["code"]: line["class"] for line in listed} == {"one": "human", "two": "bot"}
    lines = _get(keeper, "clicks", what="rows", format="ndjson").text.splitlines()
    assert sorted(json.loads(line)["code"] for line in lines) == ["one", "two"]


def test_no_rows_are_an_empty_export(keeper: Station) -> None:
    """A header, an empty list, nothing."""
    assert _get(keeper, "clicks", what="rows").text.strip() == ",".join(rows_query.COLUMNS)
    assert _get(keeper, "clicks", what="rows", format="json").json() == []
    assert _get(keeper, "clicks", what="rows", format="ndjson").text == ""


def test_a_spreadsheet_is_given_no_formulas(keeper: Station) -> None:
    """What requests brought along is text for it; JSON has what was recorded, whatever is in it."""
    link_id = _create(keeper, "-code")
    hostile = [b"=HYPERLINK(1)", b"+1", b"-1", b"@SUM(A1)", b"\t=1", b"\r=1", b"\n=1", b'a,"b"\n\x01\x02\\', b"plain"]
    clicks = [replace(click_of(NOON, link_id), user_agent=text) for text in hostile]
    store(keeper, clicks, KEEPING)
    rows = list(csv.DictReader(io.StringIO(_get(keeper, "clicks", what="rows").text, newline="")))
    expected = {text.decode() if text[:1] in b"ap" else "'" + text.decode() for text in hostile}
    assert {row["user_agent"] for row in rows} == expected
    assert {row["code"] for row in rows} == {"'-code"}
    for kind in ("json", "ndjson"):
        answer = _get(keeper, "clicks", what="rows", format=kind)
        listed = answer.json() if kind == "json" else [json.loads(line) for line in answer.text.split("\n")[:-1]]
        assert {row["user_agent"] for row in listed} == {text.decode() for text in hostile}


def _peak_bytes(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_million_rows_cost_no_memory(keeper: Station, kind: str) -> None:
    """They pass through."""
    _fill(keeper, MANY_ROWS)
    _get(keeper, "clicks", what="series")
    before = _peak_bytes(keeper.server.pid)
    lines = size = 0
    query = {"what": "rows", "format": kind}
    with keeper.client.stream("GET", "/api/v1/clicks/export", params=query, timeout=120) as answer:
        for chunk in answer.iter_bytes():
            lines += chunk.count(b"\n")
            size += len(chunk)
    assert lines == MANY_ROWS + (1 if kind == "csv" else 2)
    grown = _peak_bytes(keeper.server.pid) - before
    assert grown < MEMORY_BYTES_MAX < size, f"{size} bytes were sent, memory grew by {grown}"


def _backends(station: Station) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
    return int(fetch(station.database_url, query)[0][0])


def _begin(station: Station, port: int | None = None) -> socket.socket:
    """Ask for an export, and take only the first of it."""
    client = socket.create_connection(("127.0.0.1", port or station.port))
    client.settimeout(DEADLINE_S)
    head = f"GET /api/v1/clicks/export?what=rows HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {station.key}\r\n\r\n"
    client.sendall(head.encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


def test_a_client_that_goes_ends_its_export(keeper: Station) -> None:
    """In PostgreSQL too, at once."""
    _fill(keeper, 200_000)
    client = _begin(keeper)
    assert keeper.metric(STREAMS) == 1
    assert _backends(keeper) == 1
    client.close()
    eventually(lambda: keeper.metric(STREAMS) == 0 and _backends(keeper) == 0, "the export has ended")
    assert "never retrieved" not in keeper.log.read_text()


def test_exports_of_rows_are_bounded(keeper: Station) -> None:
    """Those that nobody reads wait and hold nothing up but one another; the answer says try later."""
    _fill(keeper, 200_000)
    clients = [_begin(keeper) for _ in range(EXPORTS_MAX)]
    answer = keeper.client.get("/api/v1/clicks/export", params={"what": "rows"})
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_exports")
    assert keeper.client.get("/api/v1/clicks/export").status_code == 200
    assert keeper.client.get("/readyz").status_code in (200, 503)
    for client in clients:
        client.close()
    eventually(lambda: keeper.metric(STREAMS) == 0, "the exports have ended")
    with keeper.client.stream("GET", "/api/v1/clicks/export", params={"what": "rows"}) as again:
        assert again.status_code == 200


def test_an_export_that_breaks_off_is_not_taken_for_whole(keeper: Station) -> None:
    """Its body has no end."""
    _fill(keeper, 200_000)
    with keeper.client.stream("GET", "/api/v1/clicks/export", params={"what": "rows"}) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes()
        next(chunks)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'"
        assert fetch(keeper.database_url, end) == [(True,)]
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in chunks:
                pass
    assert keeper.metric('pointsman_control_problems_total{code="database_unavailable"}') == 1
    assert "answer torn off" in keeper.log.read_text()


@pytest.mark.parametrize("kind", ["csv", "json", "ndjson"])
@pytest.mark.parametrize("what", ["rows", "series"])
def test_an_export_that_cannot_begin_is_a_problem(keeper: Station, what: str, kind: str) -> None:
    """Nothing is sent before the first of it is there."""
    for table in ("click_rows", "click_scope_days"):
        fetch(keeper.database_url, f"ALTER TABLE {table} RENAME TO hidden_{table}")
    answer = keeper.client.get("/api/v1/clicks/export", params={"what": what, "format": kind})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_an_export_has_its_time(keeper: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it ends, whatever is left, and PostgreSQL is not blamed for it."""
    monkeypatch.setattr(export, "EXPORT_S_MAX", 0.5)
    _fill(keeper, 200_000)

    async def run(database: Database) -> None:
        zone = spans.zone_of("UTC")
        span = spans.parse(None, None, zone, "day", datetime.now(UTC))
        rows: Any = Exports(database, are_rows_kept=True).rows(ACCOUNT, span, "csv")
        assert await anext(rows)
        async with asyncio.timeout(DEADLINE_S):
            while await asyncio.to_thread(_backends, keeper):
                pass
        with pytest.raises(Error) as error:
            async for _ in rows:
                pass
        assert error.value.code == "export_too_long"

    with_database(keeper.database_url, run)


@asynccontextmanager
async def _beside(station: Station) -> AsyncIterator[int]:
    """The port of another control plane over the same database, in this process, where constants can be changed."""
    (port,) = free_ports(1)
    settings = config.load(
        {
            "POINTSMAN_DATABASE_URL": station.database_url,
            "POINTSMAN_CONTROL_PORT": str(port),
            "POINTSMAN_SHORT_URL": SHORT_URL,
            "POINTSMAN_CLICKS_RAW": "on",
        }
    )
    serving = asyncio.create_task(server.serve(settings, log.configure(settings)))
    try:
        await _until(lambda: asyncio.to_thread(answers_http, port, "/healthz"))
        yield port
        signal.raise_signal(signal.SIGTERM)
        await serving
    finally:
        serving.cancel()


async def _until(is_true: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await is_true():
            pass


def test_a_client_that_takes_nothing_gives_its_place_back(keeper: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it stays connected: its answer is torn off, and all that was held for it is free."""
    monkeypatch.setattr(streaming, "STALL_S", 0.5)
    _fill(keeper, 200_000)

    async def run() -> None:
        async with _beside(keeper) as port:
            clients = [await asyncio.to_thread(_begin, keeper, port) for _ in range(EXPORTS_MAX)]
            key = {"Authorization": f"Bearer {keeper.key}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=key) as api:

                async def metrics() -> list[str]:
                    return (await api.get("/metrics")).text.splitlines()

                async def are_free() -> bool:
                    return f"{STREAMS} 0" in await metrics()

                await _until(are_free)
                assert f'pointsman_control_problems_total{{code="client_stalled"}} {EXPORTS_MAX}' in await metrics()
                async with api.stream("GET", "/api/v1/clicks/export", params={"what": "rows"}) as again:
                    assert again.status_code == 200
            assert await asyncio.to_thread(_backends, keeper) == 0
            for client in clients:
                assert not (await asyncio.to_thread(_rest, client)).endswith(b"0\r\n\r\n")
                client.close()

    asyncio.run(run())


def _rest(client: socket.socket) -> bytes:
    """The last that comes before the connection ends."""
    last = b""
    while data := client.recv(1 << 20):
        last = (last + data)[-16:]
    return last
