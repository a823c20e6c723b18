"""The protocol of moves holds in every state that it can reach, and each of its rules is needed."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.model import protocol
from tests.model.explorer import Explored, explore
from tests.model.protocol import Protocol, State

pytestmark = pytest.mark.timeout(600)

STATES_MAX: Final = 3_000_000

# What may go wrong is shared out, so that each part can be explored to its end. Leases end, heartbeats expire, messages
# are lost and every step waits for as long as it likes in all of them.
SCENARIOS: Final = {
    "two edges": protocol.start(edges=2, changes=0),
    "a change": protocol.start(edges=1, changes=1),
    "a shard that loses all": protocol.start(edges=1, changes=0, losses=1),
    "a driver that sleeps": protocol.start(edges=1, changes=0, pauses=1),
    "a writer or driver that sleeps into the next move": protocol.start(edges=0, changes=1, pauses=1, moves=2),
}
STATES_MIN: Final = 100_000

# Where the explorer must find what a rule is for.
NEEDED: Final = {
    **dict.fromkeys(protocol.RULES, protocol.start(edges=1, changes=1)),
    "fenced_work": protocol.start(edges=0, changes=0, pauses=1, moves=2),
}


def explored(start: State, rules: frozenset[str] = protocol.RULES) -> Explored[State]:
    """Every state that can be reached under these rules, or the way to the nearest one that is wrong."""
    moves = Protocol(rules)
    return explore(start, moves.following, moves.wrong, protocol.end, STATES_MAX)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_state_is_wrong(name: str, record_property: Callable[[str, object], None]) -> None:
    """I5, I6: whatever is answered finally is what PostgreSQL says, and a move that has ended leaves nothing over."""
    result = explored(SCENARIOS[name])
    assert result.violation is None, "\n".join([result.violation or "", *result.path])
    assert result.ends == set(protocol.ENDS)
    assert name != "two edges" or result.states >= STATES_MIN
    record_property("states", result.states)


@pytest.mark.parametrize("rule", sorted(NEEDED))
def test_without_a_rule_a_wrong_state_is_found(rule: str) -> None:
    """The model is sharp enough to see what each rule is for."""
    result = explored(NEEDED[rule], protocol.RULES - {rule})
    assert result.violation is not None
    assert result.path
