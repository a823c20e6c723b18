"""The fold of clicks in plain Python: the slow side of its pairs, counters instead of documents."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from wire import click
from wire.click import Click, Flag

DAY_MS: Final = 86_400_000
SLOT_MS: Final = 900_000
Key = tuple[int, int, int]  # scope, subject, day


class Enricher:
    """Answers of made-up data that cost little, so that the fold is what is timed."""

    def __init__(self) -> None:
        self.values = ["", "Chrome", "Firefox", "Android", "Windows", "mobile", "desktop"]
        self.values += [f"site{number}.example" for number in range(256)]
        self.values += [f"City {number}" for number in range(256)]

    def agent(self, text: bytes) -> tuple[int, int, int, int]:
        """By the text's last byte; one in sixteen is a bot."""
        last = text[-1] if text else 0
        return 1 + last % 2, 3 + last % 2, 5 + last % 2, int(last % 16 == 0)

    def referrer(self, text: bytes) -> int:
        """By the text's last byte."""
        return 7 + text[-1]

    def campaign(self, query: bytes) -> tuple[int, int, int]:
        """By the text's last byte."""
        return 7 + query[-1], 0, 0

    def place(self, address: bytes) -> tuple[int, int]:
        """By the first byte."""
        return 7 + address[0] % 16, 263 + address[0]


class Day:
    """What is counted of one subject on one day."""

    def __init__(self) -> None:
        self.clicks = 0
        self.slots: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.visitors: set[int] = set()
        self.values: list[Counter[int]] = [Counter() for _ in range(10)]


def decode(body: bytes) -> int:
    """How many clicks a frame has."""
    return len(click.decode(body))


def fold(bodies: Iterable[bytes]) -> list[tuple[int, int, int]]:
    """Count by link, domain and account; (link, day, clicks) in order."""
    enricher = Enricher()
    days: defaultdict[Key, Day] = defaultdict(Day)
    for body in bodies:
        for each in click.decode(body):
            _count(days, each, enricher)
    return sorted((subject, day, value.clicks) for (scope, subject, day), value in days.items() if scope == 0)


def _count(days: defaultdict[Key, Day], each: Click, enricher: Enricher) -> None:
    browser, system, device, is_bot = enricher.agent(each.user_agent)
    place = enricher.place(each.address) if each.address else (0, 0)
    referrer = enricher.referrer(each.referrer) if each.referrer else 0
    campaign = enricher.campaign(each.query) if each.query else (0, 0, 0)
    values = (*place, browser, system, device, referrer, *campaign, each.link_id)
    if each.flags & Flag.HEAD:
        return
    date, rest = divmod(each.time_ms, DAY_MS)
    for scope, subject in ((0, each.link_id), (1, each.domain_id), (3, 0)):
        day = days[scope, subject, date]
        day.clicks += 1
        day.slots[rest // SLOT_MS][is_bot] += 1
        day.visitors.add(hash((each.address, each.user_agent)))
        for counter, value in zip(day.values, values, strict=True):
            counter[value] += 1


def summarise(documents: Sequence[tuple[int, bytes]]) -> tuple[int, list[int]]:
    """Clicks of all documents, and those of the most clicked value of each of their dimensions."""
    clicks = 0
    values: defaultdict[int, Counter[bytes]] = defaultdict(Counter)
    for _, document in documents:
        reader = _Reader(document)
        clicks += reader.slots()
        reader.skip_visitors()
        for dimension in range(11):
            if reader.dimensions >> dimension & 1:
                values[dimension].update(reader.entries())
    return clicks, [max(counter.values()) for counter in values.values() if counter]


class _Reader:
    """The layout of control/clicks/_document.pyx."""

    def __init__(self, document: bytes) -> None:
        self._data = document
        self._at = 3
        self.dimensions = document[1] | document[2] << 8

    def slots(self) -> int:
        """The clicks of all slots."""
        self._count()
        self._count()
        clicks = 0
        for _ in range(self._count()):
            self._at += 1
            clicks += self._count() + self._count()
        return clicks

    def skip_visitors(self) -> None:
        """What stands between the slots and the dimensions."""
        registers = self._count()
        self._at += 3072 if registers == 4096 else 3 * registers

    def entries(self) -> dict[bytes, int]:
        """The next dimension."""
        entries = {}
        for _ in range(self._count()):
            end = self._at + 1 + self._data[self._at]
            value = self._data[self._at + 1 : end]
            self._at = end
            entries[value] = self._count()
        return entries

    def _count(self) -> int:
        count = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            count |= (byte & 127) << shift
            if byte < 128:
                return count
            shift += 7
