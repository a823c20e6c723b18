"""Clicks as a busy edge records them, in frames.

Links, networks, User-Agents and referrers are drawn from Zipf distributions, as they are in the wild; one click of
twenty has a campaign, one of two a referrer. A frame is full, with each text once, as the edge cuts them.
"""

import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from wire import click, frame

SEED: Final = 1
SEGMENT_BYTES: Final = 8 * 2**20
SEGMENT_HEAD_BYTES: Final = 4096
NETWORKS: Final = 100_000
DAY_MS: Final = 86_400_000
_DRAWN: Final = 4096  # at once: a draw of many costs less
_ITEM: Final = struct.Struct("<HBBIQQIHHHHBBH4s")
_TEXT: Final = struct.Struct("<HBBIH")
_BROWSERS: Final = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS {i}_{p} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/{i}.{p} Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android {a}; SM-{m}B Build/TP1A.{b}; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/{v}.0.{b}.{p} Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/{b}.0.0.54.73;]",
    "Mozilla/5.0 (iPhone; CPU iPhone OS {i}_{p} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21F90 "
    "Instagram {b}.0.8.34.87 (iPhone14,{p}; iOS {i}_{p}; de_DE; de; scale=3.00; 1170x2532; {b}12219366)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{i}.{p} "
    "Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
    "Mozilla/5.0 (compatible; Googlebot/2.{p}; +http://www.google.com/bot.html)",
    "facebookexternalhit/1.{p} (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) "
    "Chrome/{v}.0.{b}.{p} Safari/537.36",
)
AGENTS: Final = 3000
REFERRERS: Final = 5000


@dataclass(frozen=True, slots=True)
class Draws:
    """Things and how often each comes, summed up from the first."""

    things: Sequence[bytes] | range
    weights: Sequence[float]


class Traffic:
    """Clicks of the links 1..`links`; with one link all are its."""

    def __init__(self, links: int, writer: int) -> None:
        self._random = random.Random(SEED + writer)
        self._writer = writer
        self._links = _zipf(range(1, links + 1))
        self._agents = _zipf([_agent(self._random) for _ in range(AGENTS)])
        self._referrers = _halved(_zipf([_referrer(self._random) for _ in range(REFERRERS)]))
        self._networks = _zipf([self._random.randbytes(3) + b"\0" for _ in range(NETWORKS)])

    def frames(self, clicks: int, from_ms: int, to_ms: int) -> Iterator[tuple[bytes, int]]:
        """Entries of a stream and the clicks in each, `clicks` in all, in the order of their instants."""
        step_ms = (to_ms - from_ms) / clicks
        source = iter(self._clicks())
        segment, start, done, created_ms = 0, SEGMENT_HEAD_BYTES, 0, from_ms
        while done < clicks:
            body, count = _body(source, from_ms + done * step_ms, step_ms, clicks - done)
            if start + len(body) > SEGMENT_BYTES:
                segment, start, created_ms = segment + 1, SEGMENT_HEAD_BYTES, int(from_ms + done * step_ms)
            made = frame.Frame(
                edge_id="bench", writer=self._writer, segment=segment, start=start, created_ms=created_ms, body=body
            )
            yield frame.encode(made, is_compressed=True), count
            start += len(body)
            done += count

    def _clicks(self) -> Iterator[tuple[int, bytes, bytes, bytes, bytes]]:
        while True:
            drawn = [
                self._random.choices(draws.things, cum_weights=draws.weights, k=_DRAWN)
                for draws in (self._links, self._agents, self._referrers, _CAMPAIGNS, self._networks)
            ]
            yield from zip(*drawn, strict=True)


def _body(
    source: Iterator[tuple[int, bytes, bytes, bytes, bytes]], from_ms: float, step_ms: float, clicks_max: int
) -> tuple[bytes, int]:
    """A frame's body and the clicks in it."""
    numbers: dict[bytes, int] = {b"": 0}
    items: list[bytes] = []
    size = count = 0
    # The last click of a body may bring four items.
    while count < clicks_max and size < click.FRAME_BYTES_MAX - 4 * click.TEXT_BYTES_MAX:
        link_id, agent, referrer, query, network = next(source)
        for text in (agent, referrer, query):
            if text not in numbers:
                numbers[text] = len(numbers)
                items.append(_text(text))
                size += len(items[-1])
        instant_ms = int(from_ms + count * step_ms)
        texts = numbers[agent], numbers[referrer], numbers[query]
        items.append(_ITEM.pack(_ITEM.size, click.CLICK, 2, 0, instant_ms, link_id, 1, 302, *texts, 4, 0, 0, network))
        size += _ITEM.size
        count += 1
    return b"".join(items), count


def _text(text: bytes) -> bytes:
    size = -(-(_TEXT.size + len(text)) // 4) * 4
    return (_TEXT.pack(size, click.TEXT, 0, 0, len(text)) + text).ljust(size, b"\0")


def _zipf(things: Sequence[bytes] | range) -> Draws:
    return Draws(things, list(itertools.accumulate(1 / rank for rank in range(1, len(things) + 1))))


def _halved(draws: Draws) -> Draws:
    """The same with nothing in half of the draws."""
    assert not isinstance(draws.things, range)
    total = draws.weights[-1]
    return Draws([b"", *draws.things], [total, *(total + weight for weight in draws.weights)])


def _agent(choose: random.Random) -> bytes:
    form = choose.choices(_BROWSERS, weights=range(len(_BROWSERS), 0, -1))[0]
    text = form.format(
        v=choose.randint(110, 131),
        i=choose.randint(15, 18),
        p=choose.randint(0, 9),
        a=choose.randint(9, 14),
        m=choose.choice("AGS") + str(choose.randint(100, 999)),
        b=choose.randint(100, 999),
    )
    return text.encode("ascii")[: click.TEXT_BYTES_MAX]


def _referrer(choose: random.Random) -> bytes:
    site = int(choose.paretovariate(0.7)) % 500
    return b"https://www.site-%d.example/articles/%d" % (site, choose.randint(1, 10**6))


_CAMPAIGNS: Final = Draws(
    [b"", *(b"utm_source=newsletter&utm_medium=email&utm_campaign=week-%d" % week for week in range(50))],
    [95.0, *(95.0 + 0.1 * (week + 1) for week in range(50))],
)
