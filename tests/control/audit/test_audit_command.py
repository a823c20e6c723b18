"""`pointsman shard audit`, the route and the metrics, on a control plane that runs."""

from typing import Any

import pytest

from tests.control.audit.findings import changed, drop, get, put
from tests.control.commands import run_command
from tests.control.conftest import StationFactory
from tests.control.station import Station, eventually, fetch, held_target
from tests.stack.server import RedisServer


@pytest.fixture
def quiet_station(station_factory: StationFactory, database_url: str, shards: list[RedisServer]) -> Station:
    """One that does not audit by itself, with ten links."""
    running = station_factory(database_url, shards, POINTSMAN_AUDIT_LINKS_S="0")
    running.wait_trusted()
    for number in range(10):
        running.create(f"https://example.com/{number}", code=f"c{number}")
    return running


def _owner(shards: list[RedisServer], code: str) -> RedisServer:
    return next(server for server in shards if get(server, code) is not None)


def _break(shards: list[RedisServer]) -> None:
    """One link missing, one newer, one key too many."""
    drop(_owner(shards, "c0"), "c0")
    server = _owner(shards, "c1")
    put(server, "c1", changed(get(server, "c1"), b"https://wrong.example/", 8))
    put(server, "nobody", b"x" * 30)


def test_a_clean_audit_ends_with_0(quiet_station: Station, database_url: str) -> None:
    """It says how much was compared."""
    found = run_command(database_url, "shard", "audit")
    assert found.returncode == 0, found.stderr
    assert "10 records compared, 10 keys looked through; nothing is wrong" in found.stdout


def test_drift_is_shown_and_ends_with_1(quiet_station: Station, database_url: str, shards: list[RedisServer]) -> None:
    """Without --repair nothing is changed; with it all is repaired, and the next one ends with 0."""
    _break(shards)
    for _ in range(2):
        found = run_command(database_url, "shard", "audit")
        assert found.returncode == 1
        assert "3 keys wrong, 0 of them repaired" in found.stdout
        assert "3 keys are wrong; run it with --repair" in found.stderr
    found = run_command(database_url, "shard", "audit", "--repair", "--rate", "1000")
    assert found.returncode == 0, found.stderr
    assert "3 keys wrong, 3 of them repaired" in found.stdout
    eventually(lambda: held_target(shards, "c0") == "https://example.com/0", "the missing link at its shard")
    assert held_target(shards, "c1") == "https://example.com/1"
    assert run_command(database_url, "shard", "audit").returncode == 0


def test_one_shard_alone(quiet_station: Station, database_url: str, shards: list[RedisServer]) -> None:
    """An unknown one is refused with the names of those that there are."""
    dropped = shards.index(_owner(shards, "c0"))
    drop(shards[dropped], "c0")
    assert run_command(database_url, "shard", "audit", "--shard", f"shard-{1 - dropped}").returncode == 0
    assert run_command(database_url, "shard", "audit", "--shard", f"shard-{dropped}").returncode == 1
    found = run_command(database_url, "shard", "audit", "--shard", "shard-9")
    assert found.returncode == 1
    assert "there is no shard shard-9; there are shard-0, shard-1" in found.stderr


def test_a_shard_that_is_away_ends_it_with_1(
    quiet_station: Station, database_url: str, shards: list[RedisServer]
) -> None:
    """It says which one could not be judged."""
    shards[1].kill()
    found = run_command(database_url, "shard", "audit")
    assert found.returncode == 1
    assert "shard-1 cannot be judged now" in found.stderr


def test_control_audits_by_itself(station: Station, shards: list[RedisServer]) -> None:
    """What it has found is shown by the route and the metrics."""
    state: dict[str, Any] = eventually(lambda: _last(station), "a complete pass")
    assert state["drift"] == []
    assert station.metric("pointsman_audit_age_seconds") < 60
    assert station.metric('pointsman_audit_drift_total{shard="shard-0",kind="missing"}') == 0
    assert station.metric('pointsman_task_failures{task="audit"}') == 0


def _last(station: Station) -> Any:
    answer = station.client.get("/api/v1/audit").json()
    assert answer["present"] is None or answer["present"]["progress"] <= 1
    return answer["last"] if answer["last"] and answer["last"]["is_complete"] else None


def test_it_can_be_switched_off(quiet_station: Station, database_url: str) -> None:
    """With POINTSMAN_AUDIT_LINKS_S=0 there is no pass, and no age that would alert anybody, nor one of long ago."""
    assert quiet_station.client.get("/api/v1/audit").json() == {"present": None, "last": None}
    assert quiet_station.metric("pointsman_audit_age_seconds") == 0
    fetch(database_url, "INSERT INTO audits (complete_since) VALUES (now() - interval '30 days')")
    assert quiet_station.client.get("/api/v1/audit").json()["present"]
    assert quiet_station.metric("pointsman_audit_age_seconds") == 0


def test_without_repair_control_only_reports(
    station_factory: StationFactory, quiet_station: Station, database_url: str, shards: list[RedisServer]
) -> None:
    """With POINTSMAN_AUDIT_REPAIR=off drift is counted and logged, and left."""
    _break(shards)
    reporting = station_factory(database_url, shards, quiet_station.key, POINTSMAN_AUDIT_REPAIR="off")
    last = eventually(lambda: _last(reporting), "a complete pass")
    assert sum(item["count"] for item in last["drift"]) == 3
    assert last["repaired"] == 0
    assert held_target(shards, "c0") is None
    assert "drift was found" in reporting.log.read_text()
    total = sum(
        reporting.metric(f'pointsman_audit_drift_total{{shard="{item["shard"]}",kind="{item["kind"]}"}}')
        for item in last["drift"]
    )
    assert total == 3
