"""The most clicked links of some days, from daily lists that hold only the first of each day."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.clicks import top
from control.clicks.top import DayList

KEPT = 4


def _day(clicks: Counter[int]) -> DayList:
    """What a document keeps of a day."""
    listed = sorted(((link, count) for link, count in clicks.items() if count), key=lambda link: (-link[1], link[0]))
    return DayList(listed[:KEPT], sum(count for _, count in listed[KEPT:]))


def _total(days: list[Counter[int]]) -> Counter[int]:
    return sum(days, Counter())


def _ranking(days: list[Counter[int]], limit: int) -> top.Ranking:
    found = top.candidates([_day(day) for day in days], limit)
    total = _total(days)
    return top.ranking(found, {link_id: total[link_id] for link_id in found.link_ids}, limit)


clicks = st.dictionaries(st.integers(1, 12), st.integers(1, 30), max_size=10).map(Counter)


@given(days=st.lists(clicks, max_size=6), limit=st.integers(1, KEPT))
def test_no_link_that_is_missing_has_more_than_is_said(days: list[Counter[int]], limit: int) -> None:
    """And what is called exact is the plain count of everything."""
    total = _total(days)
    ranking = _ranking(days, limit)
    assert all(total[link_id] == count for link_id, count in ranking.links)
    missing = [count for link_id, count in total.items() if link_id not in dict(ranking.links)]
    assert max(missing, default=0) <= ranking.missed_max
    if ranking.is_exact:
        expected = sorted(total.values(), reverse=True)[:limit]
        assert [count for _, count in ranking.links] == expected


@given(day=clicks, limit=st.integers(1, KEPT))
def test_one_day_is_always_exact(day: Counter[int], limit: int) -> None:
    """Its list is."""
    ranking = _ranking([day], limit)
    assert ranking.is_exact
    assert [count for _, count in ranking.links] == sorted(day.values(), reverse=True)[:limit]


def test_a_link_that_is_never_among_the_first_can_be_missed() -> None:
    """It is steady while others come and go; the answer does not call itself exact then."""
    days = [Counter({100 * day + rank: 10 for rank in range(KEPT)} | {7: 9}) for day in range(1, 4)]
    ranking = _ranking(days, 1)
    assert not ranking.is_exact
    assert ranking.missed_max == 30
    assert _total(days)[7] == 27


def test_few_candidates_are_counted_where_few_links_lead() -> None:
    """Links that cannot be among the first are not counted at all."""
    days = [DayList([(1, 1000), (2, 900), (3, 5), (4, 4)], 100) for _ in range(30)]
    assert top.candidates(days, 2).link_ids == [1, 2]


def test_candidates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is in the bound."""
    monkeypatch.setattr(top, "CANDIDATES_MAX", 2)
    found = top.candidates([DayList([(1, 9), (2, 8), (3, 8), (4, 8)], 50)], 3)
    assert found.link_ids == [1, 2]
    assert found.others_max == 8
