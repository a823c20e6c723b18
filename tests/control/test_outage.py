"""Without PostgreSQL: a clear answer, nothing left behind, and recovery without help (I7)."""

import pytest

from tests.control.conftest import StationFactory
from tests.control.station import Station, eventually, fetch, held_target
from tests.stack.server import PostgresServer, RedisServer


@pytest.fixture
def outage(station_factory: StationFactory, own_postgres: PostgresServer, shards: list[RedisServer]) -> Station:
    """A control plane whose PostgreSQL the test may stop."""
    running = station_factory(own_postgres.dsn, shards)
    running.wait_trusted()
    return running


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_api_answers_503_while_postgresql_is_down(
    outage: Station, own_postgres: PostgresServer, shards: list[RedisServer], how: str
) -> None:
    """Each operation says so and changes nothing; afterwards everything works again, without a restart."""
    outage.create("https://a.example/", code="abc")
    getattr(own_postgres, how)()
    for method, path, body in (
        ("POST", "/api/v1/links", {"target": "https://a.example/", "code": "lost"}),
        ("PATCH", "/api/v1/links/abc", {"target": "https://b.example/"}),
        ("DELETE", "/api/v1/links/abc", None),
        ("GET", "/api/v1/links/abc", None),
        ("GET", "/readyz", None),
    ):
        answer = outage.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert outage.client.get("/healthz").status_code == 200
    assert outage.metric("pointsman_database_up") == 0
    assert held_target(shards, "abc") == "https://a.example/"

    own_postgres.start()
    eventually(lambda: outage.client.get("/readyz").status_code == 200, "ready again")
    assert fetch(outage.database_url, "SELECT code, version FROM links") == [("abc", 1)]
    outage.patch("abc", target="https://c.example/")
    assert held_target(shards, "abc") == "https://c.example/"
    warnings = [line for line in outage.log.read_text().splitlines() if "background task waits" in line]
    assert len(warnings) == len({line.partition("task=")[2] for line in warnings}), "said once by each task"


def test_control_starts_while_postgresql_is_down(
    station_factory: StationFactory, own_postgres: PostgresServer, shards: list[RedisServer]
) -> None:
    """It waits for PostgreSQL and goes to work when it is there."""
    first = station_factory(own_postgres.dsn, shards)
    first.wait_trusted()
    first.server.stop()
    own_postgres.stop()
    second = station_factory(own_postgres.dsn, shards, first.key)
    assert second.client.post("/api/v1/links", json={"target": "https://a.example/"}).status_code == 503
    own_postgres.start()
    eventually(lambda: second.client.get("/readyz").status_code == 200, "ready")
    second.create("https://a.example/", code="abc")
    assert held_target(shards, "abc") == "https://a.example/"
