"""Sentinel switches a shard's primary, and the topology follows."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from control.dev import redis as redis_program
from control.dev.ports import free_ports
from control.dev.program import Program
from control.errors import Error
from control.failover.sentinel import Outlook, Watched, ask, best, parse
from control.shards import service
from tests.control.conftest import StationFactory
from tests.control.station import eventually, held_target, is_trusted, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.topology import Shard

CONFIG = """port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor first 127.0.0.1 {primary} 1
sentinel down-after-milliseconds first 500
sentinel failover-timeout first 3000
"""


SECRET = "s3,cr;t/#"
QUOTED = "s3%2Ccr%3Bt%2F%23"


def listens(port: int) -> bool:
    """Whether the sentinel takes connections; what it answers depends upon its password."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def sentinel_of(primary: RedisServer, port: int, directory: Path, more: str = "") -> RedisServer:
    """A sentinel that watches a primary; alone it is the majority."""
    directory.mkdir()
    path = directory / "sentinel.conf"
    path.write_text(CONFIG.format(port=port, directory=directory, primary=primary.port) + more)
    program = Program(
        name="sentinel",
        command=(str(redis_program.find_binary()), str(path), "--sentinel"),
        log=directory / "log",
        is_ready=lambda: listens(port),
    )
    return RedisServer(program, port, directory)


def test_setting_names_shards_and_their_sentinels() -> None:
    """Several of each; what is not of the form is refused."""
    assert parse("") == []
    assert parse("shard-0=a:1,b:2/main; shard-1=redis://u:p%2Cw@c:3,rediss://:q@[::1]/other") == [
        Watched("shard-0", "main", ("redis://a:1", "redis://b:2")),
        Watched("shard-1", "other", ("redis://u:p%2Cw@c:3", "rediss://:q@[::1]:26379")),
    ]
    for text in (
        "shard-0",
        "shard-0=a:1",
        "shard-0=a/main",
        "=a:1/main",
        "shard-0=a:1,/main",
        "shard-0=a:99999/main",
        "shard-0=redis://a:1",
        "shard-0=redis://a:1/0/main",
        "shard-0=redis://a:1?db=1/main",
        "shard-0=http://a:1/main",
        "shard-0=a:1/main;shard-0=b:1/main",
    ):
        with pytest.raises(Error, match="POINTSMAN_SENTINELS"):
            parse(text)


@pytest.mark.parametrize(
    "password", ["s3cret/x", "s3cret,x", "s3cret;x", "s3cret@x", "s3cret#x", "s3cret:x", "[s3cret"]
)
def test_password_of_a_setting_is_not_quoted(password: str) -> None:
    """However it was written: half of one is as bad."""
    for text in (f"shard-0=redis://:{password}@a:1/", f"shard-0=:{password}@a:1/main", f"redis://:{password}@a:1"):
        with pytest.raises(Error) as caught:
            parse(text)
        assert "s3cret" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_sentinel_with_a_password_is_asked(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """By its default user, and by one that may do no more than that; a wrong password is not shown in the error."""
    primary = redis_factory()
    (port,) = free_ports(1)
    users = f"""requirepass "{SECRET}"
user follower on ">{SECRET}" allchannels -@all +auth +hello +sentinel|master +sentinel|replicas
"""
    sentinel = sentinel_of(primary, port, tmp_path / "sentinel", users)
    sentinel.start()
    try:
        for user in ("", "follower"):
            found = asyncio.run(ask(f"redis://{user}:{QUOTED}@127.0.0.1:{port}", "first"))
            assert found == Outlook(switches=0, primary=("127.0.0.1", primary.port), replicas=())
        for url, name in (
            (f"redis://:wr0ng@127.0.0.1:{port}", "first"),
            (f"redis://127.0.0.1:{port}", "first"),
            (f"redis://:{QUOTED}@127.0.0.1:{port}", "other"),
            (f"redis://:{QUOTED}@127.0.0.1:1", "first"),
        ):
            with pytest.raises(Error, match=f"the sentinel 127.0.0.1:{url.rpartition(':')[2]} names no") as caught:
                asyncio.run(ask(url, name))
            assert not any(secret in str(caught.value) for secret in (SECRET, QUOTED, "wr0ng"))
    finally:
        sentinel.close()


def test_sentinel_that_was_cut_off_is_outvoted(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """The one that knows of more switches is believed, in whatever order they are set and answer."""
    before, now = redis_factory(), redis_factory()
    ports = free_ports(2)
    old = sentinel_of(before, ports[0], tmp_path / "old")
    new = sentinel_of(now, ports[1], tmp_path / "new", "sentinel config-epoch first 3\n")
    urls = [f"redis://127.0.0.1:{port}" for port in (*ports, 1)]
    try:
        old.start()
        new.start()
        for order in (urls, urls[::-1]):
            found = asyncio.run(best("first", order))
            assert (found.primary, found.switches) == (("127.0.0.1", now.port), 3)
        new.kill()
        assert asyncio.run(best("first", urls)).primary == ("127.0.0.1", before.port)
        old.kill()
        with pytest.raises(Error, match="no sentinel names a primary of first"):
            asyncio.run(best("first", urls))
    finally:
        old.close()
        new.close()


def test_switch_is_followed(
    station_factory: StationFactory, database_url: str, redis_factory: RedisFactory, tmp_path: Path
) -> None:
    """The replicas are named; when the primary is killed the promoted one takes its place, and no change is lost."""
    primary, replica = redis_factory(), redis_factory()
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", str(primary.port))
        eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
    (port,) = free_ports(1)
    sentinel = sentinel_of(primary, port, tmp_path / "sentinel", f'requirepass "{SECRET}"\n')
    sentinel.start()
    try:
        setting = f"shard-0=redis://:{QUOTED}@127.0.0.1:{port}/first"
        station = station_factory(database_url, [primary], POINTSMAN_SENTINELS=setting)
        station.wait_trusted()

        def shard() -> Shard:
            return with_database(database_url, service.get_topology).shards[0]

        eventually(lambda: shard().replicas == (replica.url,), "the replica is named")
        station.create("https://a.example/1", code="one")
        primary.kill()
        station.client.patch("/api/v1/links/one", json={"target": "https://a.example/2"})
        eventually(lambda: shard().url == replica.url, "the switch is followed")
        eventually(lambda: is_trusted(replica), "the new primary is complete")
        eventually(lambda: held_target([replica], "one") == "https://a.example/2", "no change is lost")
        assert primary.url in shard().replicas
        sentinel.kill()
        failures = 'pointsman_task_failures{task="sentinel 0"}'
        eventually(lambda: station.metric(failures) > 1, "nobody is there to be followed")
        assert not any(secret in station.log.read_text() for secret in (SECRET, QUOTED))
    finally:
        sentinel.close()
