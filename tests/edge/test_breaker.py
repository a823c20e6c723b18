"""The breaker: its table, its diagrams, and the numbers that lead from one state to the next."""

import itertools
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import breaker
from edge.breaker import FAILURES_MAX, OPEN_MS_MAX, OPEN_MS_MIN, TABLE, TRIALS_MAX, WINDOW_MS, Breaker, Event, State

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
SECTION = ARCHITECTURE.read_text(encoding="utf-8").partition("### The breaker of a shard")[2].partition("\n## ")[0]
EDGE = re.compile(r"^ *(\w+) ──(\w+)──▶ (\w+)\b", re.MULTILINE)


def longest(low: float, high: float) -> float:
    """No jitter: always the upper bound."""
    return high


def opened(at_ms: int = 0) -> Breaker:
    """A breaker that has just opened for OPEN_MS_MIN."""
    made = Breaker(longest)
    for _ in range(FAILURES_MAX):
        made.on_failure(at_ms)
    assert made.state is State.OPEN
    return made


def half_open(at_ms: int = 0) -> Breaker:
    """A breaker that has just let its first trial through."""
    made = opened(at_ms - OPEN_MS_MIN)
    assert made.admit(at_ms)
    assert made.state is State.HALF_OPEN
    return made


def test_table_says_what_follows_from_every_state_and_event() -> None:
    """Nothing is undefined, and there is no way but these four out of a state."""
    assert set(TABLE) == set(itertools.product(State, Event))
    changes = {(before, event, after) for (before, event), after in TABLE.items() if before != after}
    assert changes == {
        (State.CLOSED, Event.TRIPPED, State.OPEN),
        (State.OPEN, Event.DUE, State.HALF_OPEN),
        (State.HALF_OPEN, Event.PROVEN, State.CLOSED),
        (State.HALF_OPEN, Event.TRIPPED, State.OPEN),
    }


@pytest.mark.parametrize("text", [breaker.__doc__, SECTION])
def test_diagrams_are_those_of_the_table(text: str) -> None:
    """Each arrow that a document draws is a change of the table, and each change is drawn."""
    drawn = set(EDGE.findall(text))
    assert drawn == {(before, event, after) for (before, event), after in TABLE.items() if before != after}


def test_opens_when_failures_are_close_together() -> None:
    """FAILURES_MAX within the window, the replies between them notwithstanding."""
    made = Breaker(longest)
    for number in range(FAILURES_MAX):
        assert made.admit(number)
        made.on_failure(number * WINDOW_MS // (FAILURES_MAX - 1))
        made.on_reply(number)
    assert (made.state, made.admit(WINDOW_MS)) == (State.OPEN, False)


def test_stays_closed_when_failures_are_far_apart() -> None:
    """However many there are."""
    made = Breaker(longest)
    for number in range(100):
        made.on_failure(number * (WINDOW_MS // (FAILURES_MAX - 1) + 1))
    assert (made.state, made.entries[State.OPEN]) == (State.CLOSED, 0)


def test_lets_a_bounded_number_of_trials_through() -> None:
    """At its time and not before; more than TRIALS_MAX wait for the first ones' fate."""
    made = opened()
    assert not made.admit(OPEN_MS_MIN - 1)
    assert [made.admit(OPEN_MS_MIN) for _ in range(TRIALS_MAX + 2)] == [True] * TRIALS_MAX + [False] * 2
    assert made.state is State.HALF_OPEN


def test_asking_whether_it_would_admit_uses_no_trial() -> None:
    """A refresh looks before it takes a flight."""
    made = opened()
    assert [made.may_admit(OPEN_MS_MIN) for _ in range(TRIALS_MAX + 2)] == [True] * (TRIALS_MAX + 2)
    assert made.state is State.OPEN


def test_closes_when_all_trials_were_answered() -> None:
    """And not one reply earlier."""
    made = half_open()
    for _ in range(TRIALS_MAX - 1):
        made.on_reply(0)
    assert made.state is State.HALF_OPEN
    made.on_reply(0)
    assert (made.state, made.admit(0)) == (State.CLOSED, True)


def test_opens_again_when_one_trial_fails() -> None:
    """One is enough, and replies to the others do not close it."""
    made = half_open()
    made.on_failure(0)
    for _ in range(TRIALS_MAX):
        made.on_reply(0)
    assert (made.state, made.admit(0)) == (State.OPEN, False)


def test_open_time_doubles_up_to_its_maximum() -> None:
    """A shard that does not recover costs fewer and fewer trials."""
    made, now_ms, lengths = opened(), 0, []
    for _ in range(8):
        started_ms = now_ms
        while not made.admit(now_ms):
            now_ms += 1
        lengths.append(now_ms - started_ms)
        made.on_failure(now_ms)
    assert lengths == [500, 1000, 2000, 4000, 8000, OPEN_MS_MAX, OPEN_MS_MAX, OPEN_MS_MAX]


@pytest.mark.parametrize(("closed_for_ms", "open_ms"), [(WINDOW_MS, 2 * OPEN_MS_MIN), (WINDOW_MS + 1, OPEN_MS_MIN)])
def test_open_time_starts_anew_after_a_good_window(closed_for_ms: int, open_ms: int) -> None:
    """A relapse counts on; a new trouble does not."""
    made = half_open()
    for _ in range(TRIALS_MAX):
        made.on_reply(0)
    for _ in range(FAILURES_MAX):
        made.on_failure(closed_for_ms)
    assert (made.may_admit(closed_for_ms + open_ms - 1), made.may_admit(closed_for_ms + open_ms)) == (False, True)


def test_open_time_is_jittered() -> None:
    """Edges that opened together try again apart."""
    ends = set()
    for seed in range(20):
        made = Breaker(random.Random(seed).uniform)
        for _ in range(FAILURES_MAX):
            made.on_failure(0)
        ends.add(next(now_ms for now_ms in range(OPEN_MS_MIN + 1) if made.may_admit(now_ms)))
    assert min(ends) >= OPEN_MS_MIN // 2
    assert max(ends) <= OPEN_MS_MIN
    assert len(ends) > 10


STEPS = st.lists(st.tuples(st.sampled_from(["admit", "on_reply", "on_failure"]), st.integers(0, 4000)))


@given(STEPS)
def test_no_course_of_events_shuts_a_shard_out_for_ever(steps: list[tuple[str, int]]) -> None:
    """Whatever happened: once every look-up has ended and the longest time is over, one is admitted."""
    made, now_ms, under_way = Breaker(longest), 0, 0
    for call, passed_ms in steps:
        now_ms += passed_ms
        if call == "admit":
            under_way += made.admit(now_ms)
        elif under_way:
            under_way -= 1
            getattr(made, call)(now_ms)
    for _ in range(under_way):
        made.on_failure(now_ms)
    assert made.admit(now_ms + OPEN_MS_MAX)
