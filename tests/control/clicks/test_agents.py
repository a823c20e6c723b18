"""User-Agents as they are met, and made-up ones."""

import time
from pathlib import Path

import crawleruseragents
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.clicks import agents
from control.clicks.agents import Agent, Agents
from wire.click import TEXT_BYTES_MAX

TABLE = Path(__file__).parent / "testdata" / "agents.txt"
KINDS = {"human": agents.HUMAN, "bot": agents.BOT, "preview": agents.PREVIEW}
# Words of patterns, whose repetition makes a backtracking matcher slow.
SLOW = [b"Mozilla/5.0 (Linux; Android 10; ", b"; ", b"HTC_", b"MOT-", b"Nokia", b"a", b"(", b"iPhone OS 1_", b"0."]


def _rows() -> list[tuple[bytes, Agent]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [_row(*line.split(" | ", 4)) for line in lines]


def _row(kind: str, browser: str, system: str, device: str, text: str) -> tuple[bytes, Agent]:
    browser, system, device = (name if name != "-" else "" for name in (browser, system, device))
    return text.encode(), Agent(browser, system, device, KINDS[kind])


@pytest.fixture(scope="module")
def compiled() -> Agents:
    """The patterns."""
    return Agents()


@pytest.mark.parametrize(("text", "expected"), _rows(), ids=[str(number) for number in range(len(_rows()))])
def test_well_known_agents(compiled: Agents, text: bytes, expected: Agent) -> None:
    """The table of testdata."""
    assert compiled.read(text[:TEXT_BYTES_MAX]) == expected


@pytest.mark.parametrize("text", [b"", b" ", b"\t "])
def test_no_agent_is_a_bot(compiled: Agents, text: bytes) -> None:
    """Browsers send one."""
    assert compiled.read(text) == Agent(kind=agents.BOT)


def test_every_known_crawler_is_found(compiled: Agents) -> None:
    """Each example of the list is a bot or a preview: our matcher reads its patterns as Python's does."""
    examples = [text for crawler in crawleruseragents.CRAWLER_USER_AGENTS_DATA for text in crawler["instances"]]
    missed = [text for text in examples if compiled.read(text.encode()).kind == agents.HUMAN]
    assert len(examples) > 1000
    assert missed == []


@given(text=st.binary(max_size=TEXT_BYTES_MAX))
def test_any_bytes_are_read(compiled: Agents, text: bytes) -> None:
    """Of any encoding, with any control in it."""
    found = compiled.read(text)
    assert found.kind in KINDS.values()
    assert all(isinstance(name, str) for name in (found.browser, found.system, found.device))


@pytest.mark.parametrize("part", SLOW)
def test_no_agent_is_slow(compiled: Agents, part: bytes) -> None:
    """A hundred of them in a second: fifty times what they take, and far below what backtracking takes."""
    text = (part * TEXT_BYTES_MAX)[:TEXT_BYTES_MAX]
    started = time.process_time()
    for _ in range(100):
        compiled.read(text)
    assert time.process_time() - started < 1
