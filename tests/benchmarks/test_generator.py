"""The load generator: what it counts, and what it refuses to call right."""

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
