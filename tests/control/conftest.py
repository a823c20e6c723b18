"""Running control planes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control import migrations
from control.moves import throttle
from tests.control.station import Station, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer

StationFactory = Callable[..., Station]


@pytest.fixture
def migrated_url(database_url: str) -> str:
    """The URL of a database with this build's tables."""
    with_database(database_url, migrations.migrate)
    return database_url


@pytest.fixture
def shards(redis_factory: RedisFactory) -> list[RedisServer]:
    """Two shards."""
    return [redis_factory(), redis_factory()]


@pytest.fixture
def station_factory(tmp_path: Path) -> Iterator[StationFactory]:
    """Starts a control plane at each call."""
    stations: list[Station] = []

    def start(database_url: str, servers: list[RedisServer], key: str = "", **settings: str) -> Station:
        stations.append(Station(tmp_path, database_url, servers, key, **settings))
        stations[-1].start()
        return stations[-1]

    yield start
    for station in stations:
        station.close()


@pytest.fixture
def station(station_factory: StationFactory, database_url: str, shards: list[RedisServer]) -> Station:
    """A control plane whose two shards are complete."""
    running = station_factory(database_url, shards)
    running.wait_trusted()
    return running


@pytest.fixture
def bare_station(station_factory: StationFactory, database_url: str) -> Station:
    """A control plane without shards, for what concerns the API alone."""
    return station_factory(database_url, [])


@pytest.fixture
def three(redis_factory: RedisFactory) -> list[RedisServer]:
    """Three shards; where one joins, it is the third."""
    return [redis_factory() for _ in range(3)]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of some fifty links, at the rate of most tests."""
    monkeypatch.setattr(throttle, "PAGE_S", 0.0125)
