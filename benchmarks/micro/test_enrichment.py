"""What clicks say, by matchers in Rust and C, beside the same patterns and formats read by Python."""

from pathlib import Path
from typing import Any

import maxminddb
import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from control.clicks.agents import BOT, Agents
from control.clicks.places import Places
from tests.control.clicks.geo import packed, write

CHROME = (
    b"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
)
SAFARI = (
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    b"Mobile/15E148 Safari/604.1"
)
BINGBOT = (
    b"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) "
    b"Chrome/116.0.1938.76 Safari/537.36"
)
# What makes a backtracking matcher slow, and is no slower than others for one that does not backtrack.
HOSTILE = (b"HTC_" * 64)[:255]
AGENTS = {"phone": CHROME, "iPhone": SAFARI, "bot": BINGBOT, "hostile": HOSTILE}
ADDRESSES = [packed(f"81.2.69.{number}") for number in range(100)]


@pytest.mark.parametrize(("name", "agent"), AGENTS.items(), ids=AGENTS)
def test_agent(compare: Compare, name: str, agent: bytes) -> None:
    """One that has not been met before: what is known comes from a dict."""
    agents = Agents()

    def compiled(text: bytes) -> tuple[str, str, bool]:
        found = agents.read(text)
        return found.browser, found.system, found.kind == BOT

    compare(f"User-Agent, {name}", compiled, plain.agent_reader(), [agent] * 20)


def test_place(compare: Compare, tmp_path: Path) -> None:
    """Addresses of one network; the reader that is written in Python on the other side."""
    path = write(tmp_path / "places.mmdb")
    reader = maxminddb.open_database(path, maxminddb.MODE_MMAP)

    def read(address: bytes) -> tuple[str, str]:
        found: Any = reader.get(".".join(map(str, address)))
        country = found["country"]["iso_code"]
        return country, f"{found['city']['names']['en']}, {country}"

    compare("place of an address", Places(path).find, read, ADDRESSES)
