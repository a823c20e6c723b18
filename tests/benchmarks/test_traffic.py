"""The clicks that are brought in for measuring are clicks as an edge records them."""

import itertools
from collections import Counter

from benchmarks.clicks.traffic import SEGMENT_BYTES, Traffic
from wire import click, frame
from wire.click import Click
from wire.frame import Frame

CLICKS = 5000
FROM_MS, TO_MS = 1_700_000_000_000, 1_700_003_600_000


def _decoded(links: int) -> list[tuple[Frame, list[Click]]]:
    frames = []
    for data, count in Traffic(links, writer=7).frames(CLICKS, FROM_MS, TO_MS):
        made = frame.decode(data)
        clicks = click.decode(made.body)
        assert len(clicks) == count
        frames.append((made, clicks))
    return frames


def test_frames_are_valid_and_follow_each_other() -> None:
    """Each begins where the one before it ended, or a segment does."""
    frames = [made for made, _ in _decoded(1000)]
    assert len(frames) > 1
    for before, after in itertools.pairwise(frames):
        assert (after.segment, after.start) == (before.segment, before.start + len(before.body))
        assert after.start + len(after.body) <= SEGMENT_BYTES


def test_clicks_are_in_order_and_as_many_as_asked_for() -> None:
    """Over the whole span."""
    instants = [one.time_ms for _, clicks in _decoded(1000) for one in clicks]
    assert len(instants) == CLICKS
    assert instants == sorted(instants)
    assert FROM_MS <= instants[0] < FROM_MS + 1000
    assert TO_MS - 2000 < instants[-1] <= TO_MS


def test_links_are_drawn_as_often_as_their_rank_says() -> None:
    """The first one ten times as often as the tenth; all of them are links that there are."""
    drawn = Counter(one.link_id for _, clicks in _decoded(1000) for one in clicks)
    assert set(drawn) <= set(range(1, 1001))
    assert drawn[1] > 4 * drawn[10] > 0


def test_one_link_takes_all_clicks() -> None:
    """The hot one."""
    assert {one.link_id for _, clicks in _decoded(1) for one in clicks} == {1}
