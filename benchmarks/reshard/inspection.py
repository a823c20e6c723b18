"""What an act may have left behind: looked for in PostgreSQL, in every shard, and by the product's own audit."""

from typing import Final

import redis

from benchmarks.processes import local_ports
from benchmarks.reshard.acts import Done
from benchmarks.reshard.stage import Stage
from control.audit.commands import RATE_MAX
from edge._ring import Ring, xxh64
from tests.system.product import until
from wire import keys
from wire import topology as wire_topology
from wire.topology import Topology

SETTLE_S: Final = 30
SCAN_KEYS: Final = 10_000


def inspect(stage: Stage, done: Done) -> list[str]:
    """Everything that is not as it should be; nothing if all is well."""
    until(lambda: stage.phases.fetch("SELECT NOT EXISTS (SELECT FROM outbox)"), SETTLE_S)
    topology = wire_topology.decode(
        stage.phases.fetch("SELECT document FROM topologies ORDER BY epoch DESC LIMIT 1").encode()
    )
    return [*_rows(stage, done, topology), *_audit(stage), *_keys(stage, topology), *_departed(stage, done)]


def _rows(stage: Stage, done: Done, topology: Topology) -> list[str]:
    """What PostgreSQL remembers."""
    found = []
    if topology.mode != "steady":
        found.append(f"the topology in force is {topology.mode}")
    known = set(stage.phases.fetch("SELECT array_agg(id) FROM shards"))
    if known != {shard.id for shard in topology.shards}:
        found.append(f"shards has rows of {sorted(known)}, the topology has others")
    move = stage.call("GET", f"/api/v1/moves/{done.move}")
    if move["leftovers"] and done.left:
        found.append(f"move {done.move} has left over {move['leftovers']}")
    if move["wanted"] or move["waits_for"] or move["ended_at"] is None:
        found.append(f"move {done.move} has not ended in order: {move}")
    joining = stage.phases.fetch("SELECT count(*) FROM shards WHERE is_joining")
    if joining:
        found.append(f"{joining} shards are still joining")
    return found


def _audit(stage: Stage) -> list[str]:
    """A whole pass finds nothing."""
    ended = stage.run("shard", "audit", "--rate", str(RATE_MAX))
    return [] if ended.returncode == 0 else [f"the audit ended with {ended.returncode}: {ended.stdout}{ended.stderr}"]


def _keys(stage: Stage, topology: Topology) -> list[str]:
    """Every link lies once, on the shard that owns it."""
    ring = Ring(topology.members, topology.virtual_nodes)
    found, total = [], 0
    for index, shard in enumerate(topology.shards):
        held = _links_of(shard.url)
        strangers = sum(ring.shard(xxh64(key[len(keys.LINK_PREFIX) :])) != index for key in held)
        if strangers:
            found.append(f"{strangers} keys of {shard.id} belong to other shards")
        total += len(held)
    links = stage.phases.fetch("SELECT count(*) FROM links")
    if total != links:
        found.append(f"the shards have {total} records of {links} links")
    return found


def _departed(stage: Stage, done: Done) -> list[str]:
    """A server that is no shard any more has no link, and no edge is connected to it."""
    found = []
    for name in done.left:
        url = _url_of(stage, name)
        left = len(_links_of(url))
        if left:
            found.append(f"{name} has left and still has {left} links")
        try:
            until(lambda url=url: not _edges(stage, url), SETTLE_S)  # type: ignore[misc]
        except AssertionError:
            found.append(f"{name} has left, and is still connected to {_edges(stage, url)}")
    return found


def _url_of(stage: Stage, name: str) -> str:
    if name in stage.spares:
        return stage.spares[name].url
    url: str = next(shard["url"] for shard in stage.product.dev["shards"] if shard["id"] == name)
    return url


def _links_of(url: str) -> set[bytes]:
    """The keys of links on a server; a scan may show a key twice."""
    with redis.Redis.from_url(url) as client:
        return set(client.scan_iter(match=keys.LINK_PREFIX + b"*", count=SCAN_KEYS))


def _edges(stage: Stage, url: str) -> list[str]:
    """The last commands of those who are connected, but for us, and for control, which reads late clicks for 30 s."""
    others = local_ports(stage.product.pids()["control"])
    with redis.Redis.from_url(url) as client:
        ours = client.client_id()
        clients = [other for other in client.client_list() if int(other["id"]) != ours]
    return [other["cmd"] for other in clients if int(other["addr"].rpartition(":")[2]) not in others]
