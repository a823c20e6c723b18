"""The followers of the live tail: one subscription a shard for all of them, and a bounded queue for each.

follower ──join──▶ Audience ──▶ a Subscription a shard, while anybody follows
                       │
message ──▶ decode ──▶ name links ──▶ every follower whose filter fits: queue ──▶ events
                                                                    full: counted, and said in the next event
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from control.background import Background, Pulse
from control.clicks import queries, tail
from control.clicks.subscription import Subscription
from control.clicks.tail import Sample
from control.db import Database
from control.domains import store as domain_store
from control.errors import Error
from control.metrics import Metrics
from control.shards import store as shard_store
from wire.topology import Shard

# A follower is a connection and a queue of a few hundred kilobytes at most.
FOLLOWERS_MAX: Final = 100
# Ten seconds of a tail at its full rate.
QUEUE_EVENTS_MAX: Final = 500
# Names of links that were clicked of late, about 150 bytes each.
NAMES_MAX: Final = 10_000
TOPOLOGY_INTERVAL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """What a follower is told: a click, that some were skipped, or whether a shard is heard."""

    name: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which clicks a follower wants; None is any."""

    link_id: int | None = None
    domain_id: int | None = None

    def fits(self, sample: Sample) -> bool:
        """Whether the click is wanted."""
        return self.link_id in (None, sample.get("link_id")) and self.domain_id in (None, sample.get("domain_id"))


@dataclass(slots=True, eq=False)
class Follower:
    """One client: the events that it has not taken yet."""

    wanted: Wanted
    _events: deque[Event] = field(default_factory=deque)
    _skipped: dict[str, int] = field(default_factory=dict)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, event: Event) -> bool:
        """Queue an event; False if there was no room."""
        if len(self._events) >= QUEUE_EVENTS_MAX:
            return False
        self._events.append(event)
        self._filled.set()
        return True

    def skip(self, reason: str, clicks: int) -> None:
        """Clicks that the follower will only be told the number of."""
        self._skipped[reason] = self._skipped.get(reason, 0) + clicks
        self._filled.set()

    async def take(self, timeout_s: float) -> list[Event]:
        """All that has come in, waiting for it at most so long."""
        if not self._filled.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return []
        self._filled.clear()
        skipped = [Event("skipped", {"clicks": clicks, "reason": reason}) for reason, clicks in self._skipped.items()]
        events = [*self._events, *skipped]
        self._events.clear()
        self._skipped.clear()
        return events


class Audience:
    """Everybody who follows the tail through this process."""

    def __init__(self, database: Database, background: Background, metrics: Metrics) -> None:
        self._database = database
        self._background = background
        self._metrics = metrics
        self._followers: set[Follower] = set()
        self._changed = asyncio.Event()
        self._shards: dict[str, Shard] = {}
        self._heard: dict[str, bool] = {}
        self._names: OrderedDict[int, tuple[str, str]] = OrderedDict()

    def check_room(self) -> None:
        """Raises Error("too_many_tails")."""
        if len(self._followers) >= FOLLOWERS_MAX:
            raise Error("too_many_tails", f"{FOLLOWERS_MAX} clients follow the clicks already; try again later")

    @asynccontextmanager
    async def join(self, wanted: Wanted) -> AsyncIterator[Follower]:
        """Follow until the block is left; raises Error("too_many_tails")."""
        self.check_room()
        follower = Follower(wanted)
        for shard_id, is_heard in self._heard.items():
            follower.give(_shard_event(shard_id, is_heard))
        self._followers.add(follower)
        self._changed.set()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            self._changed.set()

    async def run(self, pulse: Pulse) -> None:
        """Be subscribed to every shard of the topology while somebody follows, and to none otherwise."""
        while True:
            self._changed.clear()  # before looking: who comes or goes from here on is looked after in the next round
            await self._subscribe(await self._wanted_shards())
            pulse.beat()
            try:
                async with asyncio.timeout(TOPOLOGY_INTERVAL_S if self._followers else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _wanted_shards(self) -> dict[str, Shard]:
        if not self._followers:
            return {}
        async with self._database.connection() as connection:
            topology = await shard_store.current(connection)
        return {} if topology is None else {shard.id: shard for shard in topology.shards}

    async def _subscribe(self, wanted: dict[str, Shard]) -> None:
        for shard_id in [shard_id for shard_id, shard in self._shards.items() if wanted.get(shard_id) != shard]:
            await self._background.stop_one(f"tail {shard_id}")
            del self._shards[shard_id]
            self._heard.pop(shard_id, None)
        for shard_id, shard in wanted.items():
            if shard_id not in self._shards:
                self._shards[shard_id] = shard
                self._background.start(f"tail {shard_id}", Subscription(shard, self._on_state, self._on_message).run)

    def _on_state(self, shard_id: str, is_heard: bool) -> None:
        """Called by a subscription; tells the followers of changes only."""
        if self._heard.get(shard_id) == is_heard:
            return
        self._heard[shard_id] = is_heard
        for follower in self._followers:
            follower.give(_shard_event(shard_id, is_heard))

    async def _on_message(self, data: bytes) -> None:
        """Called by a subscription for each message."""
        try:
            samples, skipped = tail.decode(data)
        except Error:
            self._metrics.tail_skipped.add(
                reason="not_understood"
            )  # a newer process's; its clicks are stored all the same
            return
        await self._name({sample["link_id"] for sample in samples if sample.get("link_id")})
        samples.reverse()  # as they happened
        for follower in list(self._followers):
            self._give(follower, samples, skipped)

    def _give(self, follower: Follower, samples: list[Sample], skipped: int) -> None:
        wanted = [sample for sample in samples if follower.wanted.fits(sample)]
        missed = sum(not follower.give(Event("click", self._shown(sample))) for sample in wanted)
        for reason, clicks in (("slow", missed), ("rate", skipped)):
            if clicks:
                follower.skip(reason, clicks)
                self._metrics.tail_skipped.add(clicks, reason=reason)

    def _shown(self, sample: Sample) -> Sample:
        """The click with the name of its link; both are null if the link is gone."""
        if not sample.get("link_id"):
            return sample
        domain, code = self._names.get(sample["link_id"], (None, None))
        return sample | {"domain": domain, "code": code}

    async def _name(self, link_ids: set[int]) -> None:
        """Learn the names of links that are not known yet. Without PostgreSQL they are shown by their id alone."""
        unknown = list(link_ids - self._names.keys())
        if not unknown:
            return
        try:
            async with self._database.connection() as connection:
                links = await queries.links(connection, unknown)
                domains = await domain_store.by_ids(connection, list({link["domain_id"] for link in links.values()}))
        except Error:
            return
        for link_id, link in links.items():
            self._names[link_id] = (domains[link["domain_id"]].host, link["code"])
        while len(self._names) > NAMES_MAX:
            self._names.popitem(last=False)


def _shard_event(shard_id: str, is_heard: bool) -> Event:
    return Event("shard", {"shard": shard_id, "is_heard": is_heard})
