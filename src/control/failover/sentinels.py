"""Following Redis Sentinel: where it says that a shard's primary is, the topology soon says so, too.

Sentinels are asked once a second; their message of a switch (+switch-master) would come no sooner than the answers to
that matter, and could be lost. What they say is looked at before it is believed: a sentinel that was cut off names the
primary of before, and one that is set up wrongly somebody else's.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from control.background import Pulse
from control.db import Database
from control.errors import Error
from control.failover.handing import fence_off, hand_over, shard_of
from control.failover.member import is_copy_of, meet
from control.failover.sentinel import Address, Watched, best
from control.log import Logger
from wire.topology import Shard

LOOK_INTERVAL_S: Final = 1.0


class Follower:
    """Follows the sentinels of one shard."""

    def __init__(self, watched: Watched, database: Database, log: Logger) -> None:
        self._watched = watched
        self._database = database
        self._log = log.bind(shard=watched.shard_id)

    async def run(self, pulse: Pulse) -> None:
        """Look until cancelled; called again by Background."""
        while True:
            outlook = await best(self._watched.name, self._watched.urls)
            await self._follow(outlook.primary, outlook.replicas)
            pulse.beat()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _follow(self, primary: Address, replicas: Sequence[Address]) -> None:
        shard = await shard_of(self._database, self._watched.shard_id)
        is_switch = not await _is_at(shard.url, primary)
        url = _moved(shard.url, primary) if is_switch else shard.url
        urls = [_moved(shard.url, address) for address in replicas]
        if not is_switch and sorted(urls) == sorted(shard.replicas):
            return
        if is_switch:
            await self._check(shard, url)
        topology = await hand_over(self._database, shard, url, urls)
        self._log.info("sentinel followed", epoch=topology.epoch, is_switch=is_switch, replicas=len(urls))
        if is_switch:
            await self._fence_off(shard)

    async def _check(self, shard: Shard, url: str) -> None:
        """See that it is a primary with this shard's content."""
        member = await meet(shard.id, url)
        await member.connection.close()
        async with self._database.connection() as connection:
            is_copy = await is_copy_of(connection, shard, url, member)
        if member.role != "master" or not is_copy:
            raise Error("shard_unavailable", f"what sentinel names is no copy of {shard.id}, or no primary yet")

    async def _fence_off(self, shard: Shard) -> None:
        try:
            primary = await meet(shard.id, shard.url)
        except Error:
            return  # dead, or out of reach; sentinel makes it a replica when it comes back
        try:
            await fence_off(self._database, primary)
        finally:
            await primary.connection.close()


async def _is_at(url: str, address: Address) -> bool:
    """Whether the URL leads there; sentinels give addresses where a topology may have names."""
    parts = urlsplit(url)
    if (parts.port or 6379) != address[1]:
        return False
    if parts.hostname == address[0]:
        return True
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(parts.hostname, address[1], type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(item[4][0] == address[0] for item in found)


def _moved(url: str, address: Address) -> str:
    """The URL with another address: user, password, TLS and database stay."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    moved: SplitResult = parts._replace(netloc=f"{credentials}{at}{host}:{address[1]}")
    return moved.geturl()
