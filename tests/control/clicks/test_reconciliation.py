"""Served = stored + dropped + dead + in flight + missing, for each edge."""

from dataclasses import replace

from control.clicks import reconciliation
from control.clicks.reconciliation import EdgeBooks
from tests.control.clicks.depot import Depot, Segment, play, report_of
from wire import keys, report


async def _report(depot: Depot, segment: Segment, recorded: int, **members: object) -> None:
    await depot.store({keys.REPORT_FIELD: report.encode(report_of(segment, recorded, **members))})


async def _books(depot: Depot) -> EdgeBooks:
    (books,) = await reconciliation.reconcile(depot.database)
    parts = books.stored + books.dead + books.in_flight + books.missing
    assert (books.recorded, books.served) == (parts, parts + sum(books.dropped.values()))
    unknown = books.unknown
    assert unknown.recorded == unknown.stored + unknown.dead + unknown.in_flight + unknown.missing
    return books


def test_books_of_a_living_writer(database_url: str) -> None:
    """What it recorded is in flight until it is stored; what is stored before it is reported was recorded too."""
    segment = Segment()

    async def work(depot: Depot) -> None:
        await _report(depot, segment, 5, dropped={"disk_full": 2}, unknown_recorded=3, unknown_dropped=1)
        books = await _books(depot)
        assert (books.served, books.recorded, books.stored, books.in_flight) == (7, 5, 0, 5)
        assert (books.dropped["disk_full"], books.unknown.in_flight, books.unknown.dropped) == (2, 3, 1)
        assert not books.is_settled
        await depot.store(segment.cut([1, 1, 2, 0]), segment.cut([1, 1, 0, 0]))
        books = await _books(depot)
        assert (books.stored, books.in_flight, books.unknown.stored) == (5, 0, 3)
        assert books.is_settled
        await depot.store(segment.cut([1]))
        assert (await _books(depot)).recorded == 6

    play(database_url, [], work)


def test_final_report_shows_what_is_missing(database_url: str) -> None:
    """After it nothing is on its way; the final counts hold even where earlier ones were higher."""
    segment = Segment()

    async def work(depot: Depot) -> None:
        await _report(depot, segment, 10)
        await depot.store(segment.cut([1, 2, 3]))
        await _report(depot, segment, 4, dropped={"torn": 6}, is_final=True)
        await _report(depot, segment, 10)
        books = await _books(depot)
        assert (books.served, books.stored, books.in_flight, books.missing) == (10, 3, 0, 1)
        assert (books.open_writers, books.is_settled) == (0, False)
        await depot.store(segment.cut([1]))
        assert (await _books(depot)).is_settled

    play(database_url, [], work)


def test_what_a_power_cut_tore_is_counted_once(database_url: str) -> None:
    """The writer's segments are still shipped, so no report is final: what is torn is in flight no longer."""
    segment = Segment()

    async def work(depot: Depot) -> None:
        await _report(depot, segment, 10, unknown_recorded=3)
        await depot.store(segment.cut([1, 2, 3]))
        await _report(depot, segment, 4, dropped={"torn": 6}, unknown_recorded=1, unknown_dropped=2)
        books = await _books(depot)
        assert (books.served, books.recorded, books.in_flight, books.unknown.recorded) == (10, 4, 1, 1)
        await _report(depot, segment, 9, unknown_recorded=3)  # from before the cut, late
        assert replace(await _books(depot), reported_at=books.reported_at) == books

    play(database_url, [], work)


def test_dead_frames_are_in_the_books(database_url: str) -> None:
    """As far as their clicks can be told apart."""
    segment = Segment()
    bad = segment.cut_body(segment.cut([1, 2, 0]).body + bytes(4))

    async def work(depot: Depot) -> None:
        await _report(depot, segment, 2, unknown_recorded=1)
        await depot.store(bad)
        books = await _books(depot)
        assert (books.dead, books.unknown.dead, books.in_flight, books.is_settled) == (2, 1, 0, True)

    play(database_url, [], work)


def test_books_are_by_edge(database_url: str) -> None:
    """All writers of an edge together; one edge alone if it is asked for."""

    async def work(depot: Depot) -> None:
        await depot.store(*(Segment(edge_id=edge_id).cut([1]) for edge_id in ("b", "a", "b")))
        books = await reconciliation.reconcile(depot.database)
        assert [(one.edge_id, one.writers, one.stored) for one in books] == [("a", 1, 1), ("b", 2, 2)]
        assert [one.edge_id for one in await reconciliation.reconcile(depot.database, "b")] == ["b"]
        assert await reconciliation.reconcile(depot.database, "c") == []

    play(database_url, [], work)
