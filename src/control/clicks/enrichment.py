"""What a click's texts and address say, as numbers of values.

    User-Agent ─▶ memo ─▶ agents ───┐
    Referer ────▶ memo ─▶ referrers ┼─▶ values: text ─▶ number
    query ──────▶ memo ─▶ campaigns ┤
    address ────▶ memo ─▶ places ───┘

Everything here is bounded, for whoever asks for links chooses all of these texts: a memo that is full takes no more, a
table of values that is full answers 0, and a batch has a number of User-Agents that it reads. `begin` empties what is
full, so numbers are those of one batch; `values` as it was in the batch stays readable by who keeps it.

An Enricher is used by one consumer, from one thread at a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from control.clicks import campaigns, referrers
from control.clicks.agents import Agents
from control.clicks.geo_file import GeoFile
from control.clicks.places import NOWHERE
from control.clicks.values import Values
from control.log import Logger
from control.metrics import Metrics

# Some ten times what a large site sees in a day; one of 255 bytes and its answer take about 500 bytes, so 16 MB.
AGENTS_MAX: Final = 32_768
# Networks of /24 and /48 by default (docs/privacy.md); 200 bytes each, so 13 MB.
PLACES_MAX: Final = 65_536
REFERRERS_MAX: Final = 16_384
CAMPAIGNS_MAX: Final = 16_384
# 200 bytes each at most, so 52 MB when somebody fills it. `begin` empties it when it is half full.
VALUES_MAX: Final = 262_144
# One takes 15 us to read, 80 us when it is made to be slow: 0.1 to 0.7 s for a batch in which each is another one. The
# rest of the batch is counted as people with unknown browsers, and by a metric.
READS_MAX: Final = 8_192

Numbers3 = tuple[int, int, int]
Numbers4 = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a link: its tags, and the campaign in its target, used where the request names none."""

    tags: tuple[int, ...] = ()
    campaign: Numbers3 = (0, 0, 0)


class Enricher:
    """Call `begin` before each batch."""

    def __init__(self, geo_file: str, agents: Agents, metrics: Metrics, log: Logger) -> None:
        self._values = Values(VALUES_MAX)
        self._agents = agents
        self._metrics = metrics
        self._geo_file = GeoFile(Path(geo_file) if geo_file else None, log)
        self._geo_file.load()
        self._domains: frozenset[str] = frozenset()
        self._own_hosts: frozenset[str] = frozenset()  # the same, as referrers are
        self._reads_left = READS_MAX
        self._unread = 0
        self._by_agent: dict[bytes, Numbers4] = {}
        self._by_origin: dict[bytes, int] = {}
        self._by_query: dict[bytes, Numbers3] = {}
        self._by_address: dict[bytes, tuple[int, int]] = {}
        self._measure()

    @property
    def values(self) -> list[str]:
        """Number -> text of at most 64 bytes; 0 is "", which is unknown too."""
        return self._values.texts

    def own(self, hosts: Iterable[str]) -> None:
        """The hosts of our own domains: who comes from there comes from nowhere. Call it before `begin`."""
        domains = frozenset(hosts)
        if domains != self._domains:
            self._domains = domains
            self._own_hosts = frozenset(referrers.plain_host(host) for host in domains)
            self._by_origin.clear()

    def begin(self) -> None:
        """Start a batch: go on with another geo file, empty what is full, count what the last batch could not do."""
        self._measure()
        if self._geo_file.step():
            self._by_address.clear()
        if len(self._values) > VALUES_MAX // 2:
            self._values.clear()
            for memo in (self._by_agent, self._by_origin, self._by_query, self._by_address):
                memo.clear()
        _empty_if_full(self._by_agent, AGENTS_MAX)
        _empty_if_full(self._by_origin, REFERRERS_MAX)
        _empty_if_full(self._by_query, CAMPAIGNS_MAX)
        _empty_if_full(self._by_address, PLACES_MAX)
        self._reads_left = READS_MAX

    def agent(self, text: bytes) -> Numbers4:
        """Browser, system, device and class (0 human, 1 bot, 2 preview) of a User-Agent."""
        known = self._by_agent.get(text)
        return known if known is not None else self._read_agent(text)

    def referrer(self, text: bytes) -> int:
        """The host of a Referer; 0 for one of our own domains."""
        if not text:
            return 0
        origin = referrers.origin_of(text)
        known = self._by_origin.get(origin)
        return known if known is not None else self._read_referrer(origin)

    def campaign(self, query: bytes) -> Numbers3:
        """utm_source, utm_medium and utm_campaign of a query."""
        if b"utm_" not in query:
            return (0, 0, 0)
        known = self._by_query.get(query)
        return known if known is not None else self._read_campaign(query)

    def target_campaign(self, target: str) -> Numbers3:
        """The same of a link's target, for its Facts."""
        return self._read_campaign(campaigns.query_of(target))

    def place(self, address: bytes) -> tuple[int, int]:
        """Country and city of an address in network order."""
        known = self._by_address.get(address)
        return known if known is not None else self._read_place(address)

    def _read_agent(self, text: bytes) -> Numbers4:
        if self._reads_left == 0:
            self._unread += 1
            return (0, 0, 0, 0)
        self._reads_left -= 1
        found = self._agents.read(text)
        number = self._values.number
        numbers = (number(found.browser), number(found.system), number(found.device), found.kind)
        if len(self._by_agent) < AGENTS_MAX:
            self._by_agent[text] = numbers
        return numbers

    def _read_referrer(self, origin: bytes) -> int:
        host = referrers.host_of(origin)
        number = 0 if host in self._own_hosts else self._values.number(host)
        if len(self._by_origin) < REFERRERS_MAX:
            self._by_origin[origin] = number
        return number

    def _read_campaign(self, query: bytes) -> Numbers3:
        source, medium, campaign = campaigns.campaign_of(query)
        number = self._values.number
        numbers = (number(source), number(medium), number(campaign))
        if len(self._by_query) < CAMPAIGNS_MAX and len(query) <= campaigns.QUERY_BYTES_KEPT:
            self._by_query[query] = numbers
        return numbers

    def _read_place(self, address: bytes) -> tuple[int, int]:
        places = self._geo_file.places
        country, city = places.find(address) if places else NOWHERE
        numbers = (self._values.number(country), self._values.number(city))
        if len(self._by_address) < PLACES_MAX:
            self._by_address[address] = numbers
        return numbers

    def _measure(self) -> None:
        """Bring the metrics up to date with what happened since the last batch began."""
        metrics, geo_file = self._metrics, self._geo_file
        metrics.agents_read.add(READS_MAX - self._reads_left)
        metrics.agents_unread.add(self._unread)
        metrics.values_dropped.add(self._values.dropped)
        self._unread = self._values.dropped = 0
        metrics.geo_loaded.set(1 if geo_file.places else 0)
        metrics.geo_built.set(geo_file.places.built_s if geo_file.places else 0)
        metrics.geo_refusals.add(geo_file.refusals)
        geo_file.refusals = 0


def _empty_if_full(memo: dict[bytes, Any], entries_max: int) -> None:
    if len(memo) >= entries_max:
        memo.clear()
