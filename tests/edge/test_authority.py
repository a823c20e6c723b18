"""I5: "not found" is said only by an authority. I1: PostgreSQL is asked only where the shard cannot answer."""

from pathlib import Path

import pytest

from edge.clock import monotonic_ms
from tests.edge.stand import Shards, eventually, execute, insert_link, migrate, running_edge, started_edge
from tests.stack.fixtures import RedisFactory
from tests.stack.server import PostgresServer
from wire import keys


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two whole shards."""
    return Shards([redis_factory() for _ in range(2)])


@pytest.fixture
def origin_url(database_url: str) -> str:
    """A database with the schema."""
    migrate(database_url)
    return database_url


def spoil_state(shards: Shards) -> None:
    """The shard is being filled."""
    shards.set_fence(0, state="filling")


def spoil_epoch(shards: Shards) -> None:
    """The shard was fenced for an epoch that this edge does not hold."""
    shards.set_fence(0, epoch=2)


def spoil_run_id(shards: Shards) -> None:
    """The fence is from another life of the server."""
    shards.set_fence(0, run_id="0" * 40)


def spoil_presence(shards: Shards) -> None:
    """The shard has no fence: it came back empty."""
    with shards.client(0) as client:
        client.delete(keys.FENCE)


def spoil_format(shards: Shards) -> None:
    """The fence is of a format that this build does not read."""
    with shards.client(0) as client:
        client.set(keys.FENCE, b"9{}")


SPOILERS = [spoil_state, spoil_epoch, spoil_run_id, spoil_presence, spoil_format]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_miss_at_a_doubtful_shard_is_decided_by_postgresql(
    shards: Shards, origin_url: str, tmp_path: Path, spoil: object
) -> None:
    """A link that the shard lacks comes from PostgreSQL; what PostgreSQL lacks is 404."""
    there, nowhere = shards.code_of(0, "there"), shards.code_of(0, "nowhere")
    insert_link(origin_url, there, "https://origin.example/", status=307)
    assert callable(spoil)
    spoil(shards)
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert (edge.get(f"/{there}").status, edge.get(f"/{nowhere}").status) == (307, 404)
        assert edge.metric("answers_by_tier_total", '{tier="origin"}') == 2
        shards.set_fence(0)
        eventually(lambda: edge.get(f"/{nowhere}").status == 404 and edge.metric("origin_lookups_total") >= 2, "asked")


@pytest.mark.parametrize("spoil", [spoil_epoch, spoil_run_id, spoil_presence])
def test_hit_at_a_doubtful_shard_is_not_believed(
    shards: Shards, origin_url: str, tmp_path: Path, spoil: object
) -> None:
    """An old owner, or a log that lacks its last second, may hold what is no longer true."""
    code = shards.code_of(0)
    shards.put(code, "https://old.example/")
    insert_link(origin_url, code, "https://true.example/")
    assert callable(spoil)
    spoil(shards)
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert edge.get(f"/{code}").location == "https://true.example/"


@pytest.mark.parametrize("spoil", SPOILERS)
def test_miss_at_a_doubtful_shard_without_an_origin_is_503(shards: Shards, tmp_path: Path, spoil: object) -> None:
    """Nobody knows, so nobody says 404; the client is asked to come again."""
    assert callable(spoil)
    spoil(shards)
    with started_edge(tmp_path / "edge", [shards.servers[1].url]) as edge:
        eventually(edge.admits, "it serves")
        answer = edge.get(f"/{shards.code_of(0)}")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert edge.get(f"/{shards.code_of(1)}").status == 404
        # Under a fence that is newer than any topology that it can read it asks nobody, and says so.
        is_behind = spoil in {spoil_epoch, spoil_format}
        eventually(lambda: edge.is_ready() != is_behind, "it says whether it can resolve links")


def test_killed_shard_never_turns_links_into_404(shards: Shards, origin_url: str, tmp_path: Path) -> None:
    """SIGKILL: cached and uncached links of the shard come from PostgreSQL; it is used again once it is back."""
    cached, uncached = shards.code_of(0, "cached"), shards.code_of(0, "uncached")
    other = shards.code_of(1)
    for code in (cached, uncached, other):
        insert_link(origin_url, code, f"https://origin.example/{code}")
        shards.put(code, f"https://shard.example/{code}")
    with running_edge(tmp_path / "edge", [shards.servers[1].url], origin_url=origin_url) as edge:
        assert edge.get(f"/{cached}").location == f"https://shard.example/{cached}"
        shards.servers[0].kill()
        for code in (cached, uncached):
            assert edge.get(f"/{code}").location == f"https://origin.example/{code}"
        assert edge.get(f"/{other}").location == f"https://shard.example/{other}"
        assert edge.admin("/readyz").status == 200
        shards.servers[0].start()
        # Until control has fenced it anew, the shard's log may lack the last second: PostgreSQL is still asked.
        eventually(lambda: edge.workers()[0]["shards_trusted"] == 2, "the shard is connected")
        assert edge.get(f"/{uncached}").location == f"https://origin.example/{uncached}"
        shards.set_fence(0)
        eventually(lambda: edge.get(f"/{uncached}").location == f"https://shard.example/{uncached}", "it is used")


def test_cached_links_outlive_their_shard_and_postgresql(
    shards: Shards, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    """With both gone, what L1 holds is served within the stale limit; what it lacks is 503, cached absences too."""
    migrate(own_postgres.dsn)
    cached, absent, uncached = (shards.code_of(0, prefix) for prefix in ("cached", "absent", "uncached"))
    shards.put(cached, "https://shard.example/")
    shards.put(uncached, "https://shard.example/")
    with running_edge(tmp_path / "edge", [shards.servers[1].url], origin_url=own_postgres.dsn) as edge:
        assert (edge.get(f"/{cached}").status, edge.get(f"/{absent}").status) == (302, 404)
        own_postgres.kill()
        shards.servers[0].kill()
        eventually(lambda: edge.get(f"/{uncached}").status == 503, "nobody can be asked")
        assert edge.get(f"/{cached}").location == "https://shard.example/"
        assert edge.get(f"/{absent}").status == 503
        assert edge.metric("answers_by_tier_total", '{tier="stale"}') >= 1
        eventually(lambda: edge.admin("/readyz").status == 503, "the edge says that it cannot resolve everything")


def test_stale_answers_end_with_their_limit(shards: Shards, tmp_path: Path) -> None:
    """Beyond stale_ms a redirect is not guessed, not even a moment later."""
    code = shards.code_of(0)
    shards.put(code, "https://shard.example/")
    asked_ms = []
    with running_edge(tmp_path / "edge", [shards.servers[1].url], stale_ms=2500) as edge:
        assert edge.get(f"/{code}").status == 302
        filled_ms = monotonic_ms()
        shards.servers[0].kill()

        def is_over() -> bool:
            now_ms = monotonic_ms()
            is_stale = edge.get(f"/{code}").status == 302
            asked_ms.extend([now_ms] * is_stale)
            return not is_stale

        eventually(is_over, "the limit is reached")
        assert asked_ms
        assert max(asked_ms) - filled_ms <= 2500
        # One that came before the edge knew of the shard's end was a hit.
        stale, hits = (edge.metric("answers_by_tier_total", f'{{tier="{tier}"}}') for tier in ("stale", "l1"))
        assert stale > 0
        assert stale + hits == len(asked_ms)


def test_stopped_postgresql_is_not_noticed_while_shards_are_whole(
    shards: Shards, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    """I1: redirects and final misses need no PostgreSQL; uncached links included."""
    migrate(own_postgres.dsn)
    codes = [shards.code_of(number, prefix) for number in (0, 1) for prefix in ("a", "b")]
    for code in codes:
        shards.put(code, f"https://shard.example/{code}")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=own_postgres.dsn) as edge:
        own_postgres.kill()
        for code in codes:
            assert edge.get(f"/{code}").location == f"https://shard.example/{code}"
        assert edge.get("/never-there").status == 404
        assert edge.metric("origin_lookups_total") == 0


def test_record_that_this_build_cannot_read_is_taken_from_postgresql(
    shards: Shards, origin_url: str, tmp_path: Path
) -> None:
    """An unknown format version is refused, counted, and never guessed."""
    code = shards.code_of(0)
    insert_link(origin_url, code, "https://origin.example/")
    with shards.client(0) as client:
        client.set(keys.link_key(1, code), b"\x02whatever")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert edge.get(f"/{code}").location == "https://origin.example/"
        assert edge.metric("record_failures_total") == 1


def test_row_that_no_record_can_hold_fails_alone(shards: Shards, origin_url: str, tmp_path: Path) -> None:
    """A row that somebody wrote past the constraints is 503; the links asked for beside it are served."""
    shards.set_fence(0, state="filling")
    spoiled, sound = shards.code_of(0, "spoiled"), shards.code_of(0, "sound")
    execute(origin_url, "ALTER TABLE links DROP CONSTRAINT links_recordable")
    insert_link(origin_url, spoiled, "https://origin.example/ü")
    insert_link(origin_url, sound, "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert edge.get(f"/{spoiled}").status == 503
        assert edge.get(f"/{sound}").location == "https://origin.example/"
        assert edge.metric("record_failures_total") == 1
        assert edge.metric("worker_starts_total") == 1


def test_starts_from_its_last_topology_when_no_seed_answers(shards: Shards, origin_url: str, tmp_path: Path) -> None:
    """The documents on disk are enough; links of shards that are down come from PostgreSQL."""
    code = shards.code_of(0)
    insert_link(origin_url, code, "https://origin.example/")
    shards.put(shards.code_of(1), "https://shard.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert edge.get("/none").status == 404
    shards.servers[0].kill()
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=origin_url) as edge:
        assert edge.get(f"/{code}").location == "https://origin.example/"
        assert edge.get(f"/{shards.code_of(1)}").location == "https://shard.example/"
