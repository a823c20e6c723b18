"""Token buckets and the tally of connections against plain models, and what an attacker with many addresses can do."""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._budget import Budgets, Tally

CLIENTS_OF_A_SET = 8


class PlainBucket:
    """A token bucket as it is explained to people, in exact numbers."""

    def __init__(self, rate_per_s: int, burst: int) -> None:
        self.rate = Fraction(rate_per_s, 1000)
        self.burst = burst
        self.tokens = Fraction(burst)
        self.now_ms = 0

    def take(self, now_ms: int) -> bool:
        """Fill up for the time that has passed, then take."""
        self.tokens = min(Fraction(self.burst), self.tokens + self.rate * (now_ms - self.now_ms))
        self.now_ms = now_ms
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def give(self) -> None:
        """Put one back, up to the brim."""
        self.tokens = min(Fraction(self.burst), self.tokens + 1)


def key(n: int) -> int:
    """A key as SipHash would give it, the same in every run."""
    return random.Random(n).getrandbits(64)


def in_one_set(n: int) -> int:
    """A key whose upper half is that of all other such keys: they share a set of buckets, and a home in the tally."""
    return (7 << 32) + n


RATES = st.sampled_from([1, 3, 7, 20, 1000, 1_000_000])
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "take", "take", "give"]), st.integers(0, 7), st.integers(0, 900)), max_size=200
)


@settings(max_examples=300)
@given(RATES, st.integers(1, 12), st.integers(0, 2**40), STEPS)
def test_takes_and_gives_as_exact_token_buckets_do(
    rate: int, burst: int, start_ms: int, steps: list[tuple[str, int, int]]
) -> None:
    """Any rate, burst and steps of up to eight clients, which a set can hold: no step differs."""
    budgets = Budgets(8, rate, burst)
    model = {n: PlainBucket(rate, burst) for n in range(CLIENTS_OF_A_SET)}
    taken = dict.fromkeys(range(CLIENTS_OF_A_SET), 0)
    now_ms = start_ms
    for step, n, wait_ms in steps:
        now_ms += wait_ms
        if step == "take":
            is_taken = model[n].take(now_ms)
            assert is_taken == budgets.take_token(in_one_set(n), now_ms)
            taken[n] += is_taken
        elif taken[n]:
            taken[n] -= 1
            model[n].give()
            budgets.give_token(in_one_set(n))
    assert budgets.evictions == 0


@pytest.mark.parametrize(("rate", "burst", "seconds"), [(20, 200, 60), (1, 1, 10), (7, 3, 11), (333, 1000, 5)])
def test_a_scan_gets_the_burst_and_then_the_rate(rate: int, burst: int, seconds: int) -> None:
    """Asked every millisecond, one client gets exactly burst + rate x time; another one is not affected."""
    budgets = Budgets(65_536, rate, burst)
    granted = sum(budgets.take_token(key(1), 5000 + ms) for ms in range(seconds * 1000 + 1) for _ in range(2))
    # At the first instant the burst is there even if it is asked for faster than the loop above does.
    assert granted == min(2 * (seconds * 1000 + 1), burst + rate * seconds)
    assert budgets.refusals == 2 * (seconds * 1000 + 1) - granted
    assert all(budgets.take_token(key(2), 5000 + seconds * 1000) for _ in range(burst))


def test_a_refusal_costs_nothing() -> None:
    """A client that goes on asking has its next token as soon as one that waited."""
    patient, eager = Budgets(8, 10, 5), Budgets(8, 10, 5)
    for budgets in (patient, eager):
        assert [budgets.take_token(key(1), 0) for _ in range(6)] == [True] * 5 + [False]
    assert not any(eager.take_token(key(1), ms) for ms in range(100))
    assert patient.take_token(key(1), 100)
    assert eager.take_token(key(1), 100)


def test_codes_that_exist_cost_nothing() -> None:
    """A token that is given back after each look-up is there for the next one, at one instant."""
    budgets = Budgets(8, 1, 1)
    for _ in range(1000):
        assert budgets.take_token(key(1), 0)
        budgets.give_token(key(1))
    assert budgets.refusals == 0


def test_giving_never_fills_above_the_burst() -> None:
    """Whoever gives more than was taken, also for a client that nobody knows."""
    budgets = Budgets(8, 1, 3)
    for _ in range(100):
        budgets.give_token(key(1))
    assert budgets.take_token(key(1), 10)
    for _ in range(100):
        budgets.give_token(key(1))
    assert [budgets.take_token(key(1), 10) for _ in range(4)] == [True] * 3 + [False]


def test_rate_zero_is_no_limit() -> None:
    """And no memory."""
    budgets = Budgets(65_536, 0, 1)
    assert all(budgets.take_token(key(1), 0) for _ in range(1000))
    budgets.give_token(key(1))
    assert (budgets.bytes, budgets.refusals) == (0, 0)


@settings(max_examples=300)
@given(RATES, st.integers(1, 6), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=300))
def test_forgetting_only_ever_favours_a_client(rate: int, burst: int, asks: list[tuple[int, int]]) -> None:
    """31 clients and room for eight: at every instant each has got at least what an endless table had given it."""
    budgets = Budgets(8, rate, burst)
    model = {n: PlainBucket(rate, burst) for n in range(31)}
    got: Counter[int] = Counter()
    due: Counter[int] = Counter()
    now_ms = 0
    for n, wait_ms in asks:
        now_ms += wait_ms
        got[n] += budgets.take_token(key(n), now_ms)
        due[n] += model[n].take(now_ms)
        assert got[n] >= due[n]


def test_many_addresses_lock_no_newcomer_out() -> None:
    """A hundred clients for each bucket, all without tokens: whoever comes then finds a full bucket."""
    budgets = Budgets(64, 1, 10)
    for n in range(6400):
        while budgets.take_token(key(n), 0):
            pass
    assert budgets.evictions > 6000
    for n in range(10_000, 10_100):
        assert all(budgets.take_token(key(n), 0) for _ in range(10))


def test_the_deepest_debts_are_remembered() -> None:
    """Passing addresses displace each other before they displace who has used up everything."""
    budgets = Budgets(8, 1, 10)
    for n in range(CLIENTS_OF_A_SET - 1):
        assert [budgets.take_token(key(n), 0) for _ in range(11)] == [True] * 10 + [False]
    assert all(budgets.take_token(key(n), 0) for n in range(100, 1100))
    assert budgets.evictions == 999
    assert not any(budgets.take_token(key(n), 0) for n in range(CLIENTS_OF_A_SET - 1))


def test_memory_is_fixed() -> None:
    """16 bytes a client, from the start."""
    budgets = Budgets(65_536, 20, 200)
    assert budgets.bytes == 65_536 * 16
    for n in range(100_000):
        budgets.take_token(key(n), n)
    assert budgets.bytes == 65_536 * 16


@pytest.mark.parametrize(
    ("clients", "rate", "burst"),
    [(7, 1, 1), (2**24 + 1, 1, 1), (8, -1, 1), (8, 1_000_001, 1), (8, 1, 0), (8, 1, 1_000_001)],
)
def test_budgets_that_cannot_be_are_refused(clients: int, rate: int, burst: int) -> None:
    """Every bound."""
    with pytest.raises(ValueError, match="budget"):
        Budgets(clients, rate, burst)


# ---- the tally

KEYS = [key(n) for n in range(12)] + [in_one_set(n) for n in range(12)] + [0, 2**64 - 1, 2**64 - 2]


@settings(max_examples=500)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS), st.integers(0, 4)), max_size=300),
)
def test_counts_as_a_dict_does(entries_max: int, steps: list[tuple[bool, int, int]]) -> None:
    """Any order of entering and leaving, keys that share their home, also around the table's end, and a full table."""
    tally, model = Tally(entries_max), Counter[int]()
    refusals = 0
    for is_entering, client, limit in steps:
        if not is_entering:
            assert (model[client] - 1 if model[client] else -1) == tally.remove(client)
            model[client] -= model[client] > 0
        elif model[client] >= limit or (not model[client] and len(+model) == entries_max):
            assert tally.add(client, limit) == -1
            refusals += 1
        else:
            model[client] += 1
            assert model[client] == tally.add(client, limit)
        assert len(+model) == len(tally)
    assert refusals == tally.refusals
    for client in KEYS:
        assert [tally.remove(client) for _ in range(model[client] + 1)] == [*reversed(range(model[client])), -1]
    assert len(tally) == 0


def test_as_many_clients_as_connections_find_their_place() -> None:
    """Filled to the last one, emptied in another order, and filled again."""
    tally = Tally(20_000)
    keys = [key(n) for n in range(20_001)]
    for _ in range(2):
        assert all(tally.add(client, 1) == 1 for client in keys[:-1])
        assert tally.add(keys[-1], 1) == -1
        random.Random(5).shuffle(keys)
        assert sorted(tally.remove(client) for client in keys) == [-1] + [0] * 20_000
    assert tally.bytes == 2 * 20_000 * 16


@pytest.mark.parametrize("entries_max", [0, -1, 2**24 + 1])
def test_tallies_that_cannot_be_are_refused(entries_max: int) -> None:
    """Every bound."""
    with pytest.raises(ValueError, match="tally"):
        Tally(entries_max)
