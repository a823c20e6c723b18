"""The fold in plain Python: what day documents must say of clicks. Only the most clicked values are bounded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control.clicks._fold import Summary
from control.clicks._siphash import siphash
from control.clicks._sketch import estimate, fold_sketches
from wire.click import Click, Flag

SALT = 0x0123456789ABCDEF
VISITOR_KEY = int.from_bytes(b"visitors", "little")
DAY_MS = 86_400_000
SLOT_MS = 900_000
CLICK_DIMENSIONS = (
    "country", "city", "browser", "os", "device", "referrer", "utm_source", "utm_medium", "utm_campaign",
)  # fmt: skip
KEPT = {0: 50, 1: 200, 2: 200, 3: 500, 4: 200}
Key = tuple[int, int, int]  # scope, subject, day


@dataclass(frozen=True)
class PlainFacts:
    """As control.clicks.enrichment.Facts."""

    tags: tuple[int, ...] = ()
    campaign: tuple[int, int, int] = (0, 0, 0)


class PlainEnricher:
    """Its answers follow from the bytes alone, so that every value is chosen by the test."""

    def __init__(self) -> None:
        self.values = [""]
        self.asked: Counter[tuple[str, bytes]] = Counter()

    def number(self, text: str) -> int:
        """The number of a value; without NUL, as the real one cleans it."""
        text = text.replace("\0", " ")
        if text not in self.values:
            self.values.append(text)
        return self.values.index(text)

    def agent(self, text: bytes) -> tuple[int, int, int, int]:
        """Its class is bot or preview if it says so."""
        self.asked["agent", text] += 1
        words = [*text.decode("latin-1").split("/"), "", "", ""]
        kind = 1 if b"bot" in text else 2 if b"preview" in text else 0
        return self.number(words[0][:20]), self.number(words[1][:20]), self.number(words[2][:20]), kind

    def referrer(self, text: bytes) -> int:
        """Itself."""
        self.asked["referrer", text] += 1
        return self.number(text.decode("latin-1")[:30])

    def campaign(self, query: bytes) -> tuple[int, int, int]:
        """Three words."""
        self.asked["campaign", query] += 1
        words = [*query.decode("latin-1").split("&"), "", "", ""]
        return self.number(words[0][:20]), self.number(words[1][:20]), self.number(words[2][:20])

    def place(self, address: bytes) -> tuple[int, int]:
        """By the first byte and by the second."""
        self.asked["place", address] += 1
        return self.number(f"C{address[0] % 7}"), self.number(f"City {address[1]}")


@dataclass
class PlainDay:
    """All that is counted of one subject on one day."""

    kinds: Counter[str] = field(default_factory=Counter)
    slots: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    visitors: set[tuple[bytes, bytes]] = field(default_factory=set)
    values: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def clicks(self) -> int:
        """Of humans and bots."""
        return self.kinds["human"] + self.kinds["bot"]

    @property
    def visitors_estimate(self) -> int:
        """Of a sketch of them; how far that is from their number is a matter of test_sketch."""
        hashes = [_hash_visitor(address, agent) for address, agent in self.visitors]
        return round(estimate(fold_sketches([], hashes)))


def _hash_visitor(address: bytes, agent: bytes) -> int:
    return siphash(siphash(agent, 0, 0).to_bytes(8, "little") + address, SALT, VISITOR_KEY)


def plain_fold(
    clicks: Iterable[Click], facts: Mapping[int, PlainFacts], enricher: PlainEnricher
) -> defaultdict[Key, PlainDay]:
    """The days of all subjects."""
    days: defaultdict[Key, PlainDay] = defaultdict(PlainDay)
    for click in clicks:
        fact = facts.get(click.link_id, PlainFacts())
        values = _values(click, fact, enricher)
        date = click.time_ms // DAY_MS
        for scope, subject in _subjects(click, fact):
            named = values | ({"link": str(click.link_id)} if scope in (1, 3) else {})
            _count(days[scope, subject, date], click, named, enricher)
    return days


def _subjects(click: Click, fact: PlainFacts) -> list[tuple[int, int]]:
    if click.flags & Flag.UNKNOWN_CODE:
        return [(4, click.domain_id)]
    return [(0, click.link_id), (1, click.domain_id), *((2, tag) for tag in fact.tags), (3, 0)]


def _values(click: Click, fact: PlainFacts, enricher: PlainEnricher) -> dict[str, str]:
    if click.flags & Flag.UNKNOWN_CODE:
        return {
            "code": click.code.decode("utf-8", "replace")
            .replace("\0", "\ufffd")
            .encode()[:64]
            .decode("utf-8", "ignore")
        }
    numbers = [
        *(enricher.place(click.address) if click.address else (0, 0)),
        *enricher.agent(click.user_agent)[:3],
        enricher.referrer(click.referrer) if click.referrer else 0,
    ]
    campaign = enricher.campaign(click.query) if click.query else (0, 0, 0)
    numbers += campaign if any(campaign) else fact.campaign
    return dict(zip(CLICK_DIMENSIONS, (enricher.values[number] for number in numbers), strict=True))


def _count(day: PlainDay, click: Click, values: dict[str, str], enricher: PlainEnricher) -> None:
    kind = ("human", "bot", "preview")[enricher.agent(click.user_agent)[3]]
    kind = "human" if click.flags & (Flag.OPTED_OUT | Flag.NO_AGENT) else kind
    kind = "head" if click.flags & Flag.HEAD else kind
    day.kinds[kind] += 1
    if kind in ("human", "bot"):
        day.slots[click.time_ms % DAY_MS // SLOT_MS][kind == "bot"] += 1
        if click.address:
            day.visitors.add((click.address, click.user_agent))
        for dimension, value in values.items():
            day.values[dimension][value] += 1


def top(values: Counter[str], kept: int) -> tuple[list[tuple[str, int]], int]:
    """The most clicked values, of equally clicked ones the shorter, then the lesser; and the clicks of all others."""
    order = sorted(values.items(), key=lambda item: (-item[1], len(item[0].encode()), item[0].encode()))
    return order[:kept], sum(clicks for _, clicks in order[kept:])


def check_day(plain: PlainDay, scope: int, day: int, summary: Summary) -> None:
    """The summary of one document says what the plain day does; fails otherwise."""
    kinds = (summary.humans, summary.bots, summary.previews, summary.heads)
    assert kinds == tuple(plain.kinds[kind] for kind in ("human", "bot", "preview", "head"))
    assert summary.slots == {(day, slot): tuple(counts) for slot, counts in plain.slots.items()}
    assert summary.visitors.get(day, 0) == plain.visitors_estimate
    for dimension, (values, other) in summary.dimensions.items():
        assert sum(clicks for _, clicks in values) + other == plain.clicks
        assert (values, other) == top(plain.values[dimension], KEPT[scope]), dimension
