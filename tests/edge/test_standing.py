"""What proves a shard's pushes alive renews trust only under a fence that is known, and not newer than the topology."""

import pytest

from edge.standing import EXPLAIN_MS, Standing
from edge.verdict import DOUBTFUL
from wire import fence

RUN_ID = "a" * 40
NOW_MS = 1_000_000


def fenced(epoch: int) -> bytes:
    """The fence of a whole shard."""
    return fence.encode(fence.Fence(epoch=epoch, state="complete", run_id=RUN_ID))


def test_nothing_is_renewed_before_the_fence_was_read() -> None:
    """At the greeting: pings that are answered say nothing of moves."""
    standing = Standing()
    assert not standing.may_renew(1)
    standing.take_fence(None, NOW_MS)
    assert standing.may_renew(1)


@pytest.mark.parametrize(("epoch", "may"), [(2, True), (3, True), (4, False)])
def test_newer_fence_stops_renewals(epoch: int, may: bool) -> None:
    """Of the epoch held or older: the shard is written as the edge thinks."""
    standing = Standing()
    standing.take_fence(fenced(epoch), NOW_MS)
    assert (standing.may_renew(3), standing.is_behind(3)) == (may, not may)


def test_push_stops_renewals_until_the_fence_is_read_again() -> None:
    """Though it may turn out to be the same."""
    standing = Standing()
    standing.take_fence(fenced(3), NOW_MS)
    standing.doubt_fence()
    assert (standing.may_renew(3), standing.is_behind(3)) == (False, False)
    standing.take_fence(fenced(3), NOW_MS)
    assert standing.may_renew(3)


def test_trust_is_waited_for_while_it_may_come_back() -> None:
    """For a pong, for the fence, for the topology that a newer fence names; not for one that never comes."""
    standing = Standing()
    standing.take_fence(fenced(3), NOW_MS)
    assert standing.may_be_renewed_soon(3, NOW_MS + 10 * EXPLAIN_MS)
    standing.take_fence(fenced(4), NOW_MS)
    assert standing.may_be_renewed_soon(3, NOW_MS + EXPLAIN_MS - 1)
    assert not standing.may_be_renewed_soon(3, NOW_MS + EXPLAIN_MS)
    standing.doubt_fence()
    assert standing.may_be_renewed_soon(3, NOW_MS + EXPLAIN_MS)
    standing.take_fence(fenced(4), NOW_MS + EXPLAIN_MS)
    assert not standing.may_be_renewed_soon(3, NOW_MS + EXPLAIN_MS)


def test_unreadable_fence_is_newer_than_any_topology() -> None:
    """A newer build of control has written it."""
    standing = Standing()
    standing.take_fence(b"9{}", NOW_MS)
    assert not standing.may_renew(2**40)
    assert standing.judge(2**40) == DOUBTFUL


def test_replies_are_judged_by_the_epoch_of_their_sending() -> None:
    """The same fence allows different things to look-ups that were sent under different topologies."""
    standing = Standing(run_id=RUN_ID)
    standing.take_fence(fenced(3), NOW_MS)
    verdicts = [standing.judge(epoch) for epoch in (2, 3, 4, 3)]
    assert [verdict.is_epoch_behind for verdict in verdicts] == [True, False, False, False]
    assert [verdict.are_misses_final for verdict in verdicts] == [False, True, False, True]


def test_trust_ends_with_the_ping_or_the_lease() -> None:
    """Whichever is first."""
    standing = Standing(pong_sent_ms=1000, lease_until_ms=5000)
    assert (standing.trusted_until_ms(300), standing.trusted_until_ms(9000)) == (1300, 5000)
