"""The most clicked links of some days, from the days' lists of their most clicked links; pure.

A day's list is exact and holds the K most clicked links of the day, so a link that is not on it has at most as many
clicks as the last one on it (its floor), or none if the list holds all links. Over several days a link has at least the
sum of what is listed, and at most that plus the floors of the other days. Only the links that could be among the first
are counted exactly, by their own rows; what even so may be missing is bounded by a number that is answered too.

This is the threshold algorithm of Fagin, Lotem and Naor (2001), with the days as the sorted lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Each costs a range of an index with as many rows as there are days. Where clicks are spread so evenly that more links
# could be among the first, the answer says how much may be missing.
CANDIDATES_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class DayList:
    """A day's most clicked links with their clicks, the most clicked first, and the clicks of all other links."""

    links: Sequence[tuple[int, int]]
    other: int

    @property
    def floor(self) -> int:
        """What a link that is not listed has at most."""
        return self.links[-1][1] if self.other and self.links else self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Links to count exactly, and the most clicks that any other link can have."""

    link_ids: list[int]
    others_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The most clicked links. A link that is not in it has at most `missed_max` clicks; `is_exact`: none should be."""

    links: list[tuple[int, int]]
    missed_max: int
    is_exact: bool


def candidates(days: Sequence[DayList], limit: int) -> Candidates:
    """The links that can be among the `limit` most clicked ones of all days together."""
    floors = sum(day.floor for day in days)
    listed: dict[int, int] = {}
    highest: dict[int, int] = {}  # the most that a link can have
    for day in days:
        for link_id, clicks in day.links:
            listed[link_id] = listed.get(link_id, 0) + clicks
            highest[link_id] = highest.get(link_id, floors) + clicks - day.floor
    threshold = sorted(listed.values(), reverse=True)[limit - 1] if len(listed) >= limit else 0
    by_chance = sorted(highest, key=lambda link_id: (-highest[link_id], link_id))
    count = sum(most >= threshold for most in highest.values())
    chosen, left = by_chance[: min(count, CANDIDATES_MAX)], by_chance[min(count, CANDIDATES_MAX) :]
    return Candidates(link_ids=chosen, others_max=max([floors, *(highest[link_id] for link_id in left[:1])]))


def ranking(found: Candidates, clicks: Mapping[int, int], limit: int) -> Ranking:
    """The first `limit` of the candidates, by their exact clicks."""
    links = sorted(clicks.items(), key=lambda link: (-link[1], link[0]))
    last = links[limit - 1][1] if len(links) >= limit else 0
    missed_max = max([found.others_max, *(count for _, count in links[limit : limit + 1])])
    return Ranking(links=links[:limit], missed_max=missed_max, is_exact=missed_max <= last)
