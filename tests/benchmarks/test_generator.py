"""The load generator: what it counts, and what it refuses to call right."""

from array import array
from pathlib import Path

import pytest

from benchmarks import BenchmarkError
from benchmarks.load import generator
from benchmarks.load.generator import Clients, Orders
from benchmarks.macro.links import Link
from tests.benchmarks.scripted import ANSWER, Script, scripted

CORE = 0


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """The one link that a script answers."""
    return generator.write_links([Link("a", "https://example.com/a")], tmp_path / "links")


def test_answers_are_counted_and_checked(links: Path) -> None:
    """Each request has its right answer, over one connection that is kept."""
    with scripted(Script()) as port:
        report = generator.load(Orders(links=links, connections=1, count=100), port, CORE)
    assert (report.asked, report.answered, report.opened) == (100, 100, 1)
    assert report.statuses == {"302": 100}
    assert report.bytes == 100 * len(ANSWER)


def test_a_stalled_server_has_all_of_the_delay_that_it_caused(links: Path) -> None:
    """Latency counts from the intended time: half of the requests met the pause, though only one was being answered."""
    script = Script(pause_at=2, pause_s=0.5)
    with scripted(script) as port:
        report = generator.load(Orders(links=links, connections=1, rate=200, seconds=1), port, CORE)
    assert report.answered == 200
    # Of 100 requests that were due in the pause, half waited for more than half of it.
    assert report.latency_us["p90"] > 250_000
    assert report.latency_us["max"] >= 490_000


def test_a_wrong_location_is_an_error(links: Path) -> None:
    """A redirect that leads elsewhere is no answer."""
    with scripted(Script(answer=ANSWER.replace(b"/a", b"/b"))) as port, pytest.raises(BenchmarkError, match="location"):
        generator.load(Orders(links=links, connections=1, count=10), port, CORE)


def test_a_wrong_status_is_an_error(links: Path) -> None:
    """Even one that has the right Location."""
    answer = ANSWER.replace(b"302 Found", b"301 Moved")
    with scripted(Script(answer=answer)) as port, pytest.raises(BenchmarkError, match="status"):
        generator.load(Orders(links=links, connections=1, count=10), port, CORE)


def test_an_absent_link_wants_404(tmp_path: Path) -> None:
    """A redirect is wrong for what is no link."""
    links = generator.write_links([Link("a", generator.ABSENT)], tmp_path / "links")
    with scripted(Script()) as port, pytest.raises(BenchmarkError, match="status"):
        generator.load(Orders(links=links, connections=1, count=10), port, CORE)


def test_a_connection_that_ends_under_a_request_is_an_error(links: Path) -> None:
    """The server hangs up in the middle of an answer."""
    with scripted(Script(answer=ANSWER[:-1], closes_after=1)) as port, pytest.raises(BenchmarkError, match="broken"):
        generator.load(Orders(links=links, connections=1, count=1), port, CORE)


def test_nobody_listening_is_an_error(links: Path) -> None:
    """Refused connections are counted, and the run ends."""
    with scripted(Script()) as port:
        pass
    with pytest.raises(BenchmarkError, match="connect"):
        generator.load(Orders(links=links, connections=1, count=10), port, CORE)


def test_connections_are_made_anew_when_asked_for(links: Path) -> None:
    """By the client after so many requests, or after the server has closed one between two requests."""
    with scripted(Script()) as port:
        ours = generator.load(Orders(links=links, connections=1, count=20, per_connection=5), port, CORE)
    closing = ANSWER.replace(b"Content", b"Connection: close\r\nContent")
    with scripted(Script(answer=closing, closes_after=1)) as port:
        theirs = generator.load(Orders(links=links, connections=1, count=20), port, CORE)
    assert (ours.opened, theirs.opened) == (4, 20)


def test_clients_come_from_their_addresses(links: Path) -> None:
    """Any of 127.0.0.0/8 can be a client."""
    script = Script()
    orders = Orders(links=links, connections=3, count=30, per_connection=1, clients=Clients("127.0.9.1", 3))
    with scripted(script) as port:
        generator.load(orders, port, CORE)
    assert script.peers == {"127.0.9.1", "127.0.9.2", "127.0.9.3"}


def test_held_connections_that_are_dropped_are_seen(links: Path) -> None:
    """One that the server closes is counted while it idles or, if its second request is faster, as broken."""
    orders = Orders(links=links, connections=1, is_held=True)
    with scripted(Script(closes_after=1)) as port, generator.loading(orders, port, CORE) as run:
        report = run.stop()
    assert report.dropped + report.errors["broken"] >= 1


def test_bad_orders_are_refused(tmp_path: Path) -> None:
    """With a message that says what is wrong."""
    (tmp_path / "links").write_text("no-target\n")
    with pytest.raises(BenchmarkError, match="CODE TARGET"):
        generator.load(Orders(links=tmp_path / "links", count=1), 1, CORE)


REDIRECT = b"HTTP/1.1 302 Found\r\nlocation: https://example.com/a?version=%d\r\nContent-Length: 0\r\n\r\n"
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("number", "span", "answer", "error"),
    [
        (0, (2, 2), REDIRECT % 2, ""),
        (0, (2, 4), REDIRECT % 3, ""),
        (0, (2, 4), REDIRECT % 1, "location"),
        (0, (2, 4), REDIRECT % 5, "location"),
        (0, (0, 0), REDIRECT.replace(b"%d", b"x"), "location"),
        (0, (0, 0), REDIRECT.replace(b"%d", b""), "location"),
        (0, (1, 1), ABSENT, "status"),
        (3, (1, 1), ABSENT, ""),
        (3, (1, 1), REDIRECT % 1, "status"),
        (3, (1, 2), REDIRECT % 1, "location"),
        (3, (1, 2), REDIRECT % 2, ""),
        (3, (2, 2), ABSENT, "status"),
        (3, (2, 3), ABSENT, ""),
    ],
)
def test_a_changing_link_is_held_against_what_it_may_be(
    tmp_path: Path, number: int, span: tuple[int, int], answer: bytes, error: str
) -> None:
    """Not older than its floor, not newer than its ceiling, and absent in the versions of its absence alone."""
    links = generator.write_links([Link("a", "https://example.com/a?version=")] * 4, tmp_path / "links")
    order, truth = tmp_path / "order", tmp_path / "truth"
    order.write_bytes(array("i", [number]).tobytes())
    truth.write_bytes(array("i", [0, 0] * number + [*span] + [0, 0] * (3 - number)).tobytes())
    orders = Orders(links=links, order=order, truth=truth, connections=1, count=3)
    with scripted(Script(answer=answer)) as port, generator.loading(orders, port, CORE) as run:
        report = run.report()
    assert {kind: count for kind, count in report.errors.items() if count} == ({error: 3} if error else {})
    assert [(wrong["code"], wrong["floor"]) for wrong in report.wrong] == ([("a", span[0])] * 3 if error else [])


@pytest.mark.parametrize(("name", "content"), [("order", [1]), ("order", []), ("order", [-1]), ("truth", [0])])
def test_files_that_do_not_fit_the_links_are_refused(
    links: Path, tmp_path: Path, name: str, content: list[int]
) -> None:
    """Before anything is asked."""
    (tmp_path / name).write_bytes(array("i", content).tobytes())
    file = tmp_path / name
    orders = Orders(
        links=links, count=1, order=file if name == "order" else None, truth=file if name == "truth" else None
    )
    with pytest.raises(BenchmarkError, match=name):
        generator.load(orders, 1, CORE)
