"""The protocol of moves holds in every state that it can reach, and each of its rules is needed."""

from typing import Final

import pytest

from tests.model import protocol
from tests.model.explorer import Explored, explore
from tests.model.protocol import Protocol, State

STATES_MAX: Final = 3_000_000

# What may go wrong is shared out, so that each part can be explored to its end.
SCENARIOS: Final = {
    "two edges and a change": protocol.start(edges=2, changes=1),
    "an edge, two changes": protocol.start(edges=1, changes=2),
    "an edge, a change, a shard that loses all": protocol.start(edges=1, changes=1, losses=1),
    "an edge, a change, a writer that sleeps": protocol.start(edges=1, changes=1, pauses=1),
    "a driver that sleeps into the next move": protocol.start(edges=1, changes=0, pauses=1, moves=2),
}

# Where the explorer must find what a rule is for.
NEEDED: Final = {
    "fence": protocol.start(edges=1, changes=1),
    "lease": protocol.start(edges=1, changes=1),
    "arming": protocol.start(edges=1, changes=1),
    "walk": protocol.start(edges=1, changes=1),
    "placement_lock": protocol.start(edges=1, changes=1),
    "fenced_work": protocol.start(edges=1, changes=0, pauses=1, moves=2),
}


def explored(start: State, rules: frozenset[str] = protocol.RULES) -> Explored[State]:
    """Every state that can be reached under these rules, or the way to the nearest one that is wrong."""
    moves = Protocol(rules)
    return explore(start, moves.following, moves.wrong, protocol.end, STATES_MAX)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_state_is_wrong(name: str) -> None:
    """I5, I6: whatever is answered finally is what PostgreSQL says, and a move that has ended leaves nothing over."""
    result = explored(SCENARIOS[name])
    assert result.violation is None, "\n".join([result.violation or "", *result.path])
    assert result.ends == set(protocol.ENDS)
    print(f"{name}: {result.states:,} states, {result.transitions:,} transitions")


def test_rules_are_all_needed_somewhere() -> None:
    """No rule is listed that nothing is known to break without."""
    assert NEEDED.keys() == protocol.RULES


@pytest.mark.parametrize("rule", sorted(NEEDED))
def test_without_a_rule_a_wrong_state_is_found(rule: str) -> None:
    """The model is sharp enough to see what each rule is for."""
    result = explored(NEEDED[rule], protocol.RULES - {rule})
    assert result.violation is not None
    print(f"without {rule}: {result.violation} after {len(result.path)} steps: {', '.join(result.path)}")
