"""What a User-Agent says: browser, system, kind of device, and whether a person is behind it.

The patterns are those of ua-parser (uap-core) and of the list crawler-user-agents: maintained by others, renewed with
the packages. Python's regular expressions backtrack: a User-Agent made for these patterns could take seconds.
ua-parser-rs matches in time linear in the text, so the cost has a bound; the text has one too (wire.click).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import crawleruseragents
import ua_parser_rs
from ua_parser.loaders import load_lazy_builtins

from control.clicks.devices import Devices
from control.clicks.previews import FETCHERS

HUMAN: Final = 0
BOT: Final = 1
PREVIEW: Final = 2
_SPIDER: Final = "Spider"  # uap-core's device of what crawls
_VERSION: Final = ("major", "minor", "patch", "patch_minor")


@dataclass(frozen=True, slots=True)
class Agent:
    """What is known of the sender; "" is unknown. `kind` is HUMAN, BOT or PREVIEW."""

    browser: str = ""
    system: str = ""
    device: str = ""
    kind: int = HUMAN


# Browsers always send one; scripts and scanners often do not.
NO_AGENT: Final = Agent(kind=BOT)


class Agents:
    """The compiled patterns: about 30 MB and 0.1 s to make, so one for a process."""

    def __init__(self) -> None:
        browsers, systems, devices = load_lazy_builtins()
        self._browsers = ua_parser_rs.UserAgentExtractor(map(attrgetter("regex", "family", *_VERSION), browsers))
        self._systems = ua_parser_rs.OSExtractor(map(attrgetter("regex", "family", *_VERSION), systems))
        # All of them, though only spiders are asked for: "silk" is a spider unless it is found to be a Kindle before.
        self._models = ua_parser_rs.DeviceExtractor(
            map(attrgetter("regex", "regex_flag", "family", "brand", "model"), devices)
        )
        self._crawlers = _any_of(crawler["pattern"] for crawler in crawleruseragents.CRAWLER_USER_AGENTS_DATA)
        self._fetchers = _any_of(f"(?i){fetcher}" for fetcher in FETCHERS)
        self._devices = Devices()

    def read(self, agent: bytes) -> Agent:
        """What `agent`, a request's User-Agent, says."""
        if not agent.strip():
            return NO_AGENT
        text = agent.decode("utf-8", "replace")
        browser = _family(self._browsers.extract(text))
        if self._fetchers.extract(text) is not None:
            return Agent(browser=browser, kind=PREVIEW)
        if self._is_bot(text):
            return Agent(browser=browser, kind=BOT)  # what it claims to run on is its disguise
        system = _family(self._systems.extract(text))
        return Agent(browser=browser, system=system, device=self._devices.kind_of(text, system))

    def _is_bot(self, text: str) -> bool:
        return self._crawlers.extract(text) is not None or _family(self._models.extract(text)) == _SPIDER


def _any_of(patterns: Iterable[str]) -> Any:
    """Finds out whether one of the patterns matches; what is extracted does not matter."""
    return ua_parser_rs.UserAgentExtractor((pattern, _SPIDER, None, None, None, None) for pattern in patterns)


def _family(found: Any) -> str:
    return "" if found is None or found.family == "Other" else str(found.family)
