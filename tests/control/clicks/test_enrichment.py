"""The enricher: numbers that hold for a batch, and bounds that hold whatever is asked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.clicks import enrichment, geo_file
from control.clicks.agents import Agents
from control.clicks.enrichment import Enricher
from control.metrics import Metrics
from tests.control.clicks.geo import LONDON, MUNICH, packed, write
from tests.control.station import eventually

CHROME = (
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
TEXT = st.binary(max_size=255)


@pytest.fixture(scope="module")
def agents() -> Agents:
    """The patterns."""
    return Agents()


@pytest.fixture
def metrics() -> Metrics:
    """Fresh counters."""
    return Metrics()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of places."""
    return write(tmp_path / "places.mmdb", {"81.2.69.0/24": LONDON})


@pytest.fixture
def enricher(path: Path, agents: Agents, metrics: Metrics) -> Enricher:
    """One that has begun a batch."""
    enricher = Enricher(str(path), agents, metrics, structlog.get_logger())
    enricher.begin()
    return enricher


def _value(metrics: Metrics, name: str) -> float:
    lines = [line.split() for line in metrics.text().splitlines() if not line.startswith("#")]
    return next(float(value) for line, value in lines if line == name)


def _names(enricher: Enricher, *numbers: int) -> list[str]:
    return [enricher.values[number] for number in numbers]


def test_everything_of_a_click(enricher: Enricher) -> None:
    """Each part as numbers of values; twice the same."""
    for _ in range(2):
        *numbers, kind = enricher.agent(CHROME)
        assert (_names(enricher, *numbers), kind) == (["Chrome", "Windows", "desktop"], 0)
        assert _names(enricher, enricher.referrer(b"https://www.example.com/a")) == ["example.com"]
        assert _names(enricher, *enricher.campaign(b"utm_source=A&utm_campaign=B")) == ["a", "", "B"]
        assert _names(enricher, *enricher.place(packed("81.2.69.1"))) == ["GB", "London, GB"]
        assert _names(enricher, *enricher.target_campaign("https://x.example/?utm_medium=C#")) == ["", "c", ""]


def test_nothing_is_unknown(enricher: Enricher) -> None:
    """Texts and addresses that are not recorded; without a User-Agent it is a bot."""
    assert enricher.agent(b"") == (0, 0, 0, 1)
    assert enricher.referrer(b"") == 0
    assert enricher.campaign(b"") == (0, 0, 0)
    assert enricher.place(b"") == (0, 0)


def test_without_a_file_places_are_unknown(agents: Agents, metrics: Metrics) -> None:
    """And the metric says so."""
    enricher = Enricher("", agents, metrics, structlog.get_logger())
    enricher.begin()
    assert enricher.place(packed("81.2.69.1")) == (0, 0)
    assert _value(metrics, "pointsman_geo_loaded") == 0


def test_own_domains_are_no_referrers(enricher: Enricher) -> None:
    """As soon as they are known; with whatever port."""
    assert enricher.referrer(b"http://go.example:8080/a") != 0
    enricher.own(["go.example:8080", "www.short.example"])
    assert enricher.referrer(b"http://go.example:8080/a") == 0
    assert enricher.referrer(b"https://short.example/b") == 0
    assert enricher.referrer(b"https://example.com/") != 0
    enricher.own([])
    assert enricher.referrer(b"https://short.example/b") != 0


def test_replaced_file_is_asked_from_a_later_batch_on(
    enricher: Enricher, path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a batch an address stays where it is."""
    monkeypatch.setattr(geo_file, "SETTLE_S", 0.0)
    address = packed("81.2.69.1")
    enricher.place(address)
    write(path, {"81.2.69.0/24": MUNICH})
    assert _names(enricher, *enricher.place(address)) == ["GB", "London, GB"]

    def is_asked() -> bool:
        enricher.begin()
        return _names(enricher, *enricher.place(address)) == ["DE", "Munich, DE"]

    eventually(is_asked, "the file is copied, checked by another process, and asked")
    assert _value(metrics, "pointsman_geo_loaded") == 1
    assert _value(metrics, "pointsman_geo_built_seconds") == pytest.approx(path.stat().st_mtime, abs=60)


def test_refused_file_is_counted(path: Path, agents: Agents, metrics: Metrics) -> None:
    """From the start on."""
    path.write_bytes(b"not a database")
    Enricher(str(path), agents, metrics, structlog.get_logger())
    assert _value(metrics, "pointsman_geo_refusals_total") == 1


def test_too_many_agents_of_a_batch_are_people_with_unknown_browsers(
    enricher: Enricher, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted, and the next batch reads them."""
    monkeypatch.setattr(enrichment, "READS_MAX", 2)
    enricher.begin()
    kinds = [enricher.agent(b"curl/%d" % number)[3] for number in range(4)]
    assert kinds == [1, 1, 0, 0]
    assert enricher.agent(b"curl/0")[3] == 1  # known already
    enricher.begin()
    assert enricher.agent(b"curl/2")[3] == 1
    assert _value(metrics, "pointsman_click_agents_unread_total") == 2


def test_too_many_values_of_a_batch_are_unknown(
    agents: Agents, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted; the next batch begins with an empty table."""
    monkeypatch.setattr(enrichment, "VALUES_MAX", 4)
    enricher = Enricher("", agents, metrics, structlog.get_logger())
    enricher.begin()
    numbers = [enricher.referrer(b"https://%d.example/" % number) for number in range(6)]
    assert numbers == [1, 2, 3, 0, 0, 0]
    kept = enricher.values
    enricher.begin()
    assert _value(metrics, "pointsman_click_values_dropped_total") == 3
    assert _names(enricher, enricher.referrer(b"https://5.example/")) == ["5.example"]
    assert kept[1] == "0.example"


MEMOS: dict[str, tuple[str, Callable[[Enricher, int], object]]] = {
    "AGENTS_MAX": ("_by_agent", lambda enricher, number: enricher.agent(b"agent %d" % number)),
    "REFERRERS_MAX": ("_by_origin", lambda enricher, number: enricher.referrer(b"https://%d.example/" % number)),
    "CAMPAIGNS_MAX": ("_by_query", lambda enricher, number: enricher.campaign(b"utm_source=%d" % number)),
    "PLACES_MAX": ("_by_address", lambda enricher, number: enricher.place(number.to_bytes(4))),
}


@pytest.mark.parametrize("name", MEMOS)
def test_memos_are_bounded(enricher: Enricher, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A full memo answers on and takes no more; a batch later it is empty."""
    memo, ask = MEMOS[name]
    monkeypatch.setattr(enrichment, name, 3)
    answers = [ask(enricher, number) for number in range(10)]
    assert [ask(enricher, number) for number in range(10)] == answers
    assert len(getattr(enricher, memo)) == 3
    enricher.begin()
    assert len(getattr(enricher, memo)) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(TEXT, TEXT, TEXT), address=st.binary(max_size=20), target=st.text(max_size=50))
def test_any_click_has_valid_values(
    enricher: Enricher, texts: tuple[bytes, bytes, bytes], address: bytes, target: str
) -> None:
    """Whatever bytes are sent: numbers of valid UTF-8 texts of at most 64 bytes."""
    agent, referrer, query = texts
    *numbers, kind = enricher.agent(agent)
    numbers += [enricher.referrer(referrer), *enricher.campaign(query), *enricher.place(address)]
    numbers += enricher.target_campaign(target)
    assert kind in (0, 1, 2)
    assert all(len(text.encode("utf-8")) <= 64 for text in _names(enricher, *numbers))
