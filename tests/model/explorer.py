"""A breadth-first explorer of finite state machines, with the shortest path to whatever it finds wrong.

Of a state that was visited only its 64-bit hash is kept (hash compaction: P. Wolper and D. Leroy, "Reliable hashing
without collision detection", CAV 1993): among five million states two share one with a probability of 10^-6.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

Next = Callable[[S], Iterable[tuple[str, S]]]


@dataclass(slots=True)
class Explored(Generic[S]):
    """What was found: `violation` says what is wrong in the last state of `path`, the names of the steps to it."""

    states: int = 0
    transitions: int = 0
    steps: set[str] = field(default_factory=set)
    ends: set[str] = field(default_factory=set)
    violation: str | None = None
    path: list[str] = field(default_factory=list)


def explore(
    start: S, following: Next[S], wrong: Callable[[S], str | None], end: Callable[[S], str | None], states_max: int
) -> Explored[S]:
    """Visit every state that can be reached, nearest first, until one is wrong; raises OverflowError beyond the bound.

    `wrong` says what is wrong in a state; `end` names the state if it is one in which the protocol has ended.
    """
    result: Explored[S] = Explored()
    came_from: dict[int, tuple[int, str]] = {hash(start): (0, "")}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        result.states += 1
        name = end(state)
        if name is not None:
            result.ends.add(name)
        result.violation = wrong(state)
        if result.violation is not None:
            result.path = _path(came_from, hash(state))
            return result
        for step, after in following(state):
            result.transitions += 1
            result.steps.add(step.partition(" ")[0])
            fingerprint = hash(after)
            if fingerprint not in came_from:
                if len(came_from) >= states_max:
                    raise OverflowError(f"more than {states_max} states")
                came_from[fingerprint] = (hash(state), step)
                queue.append(after)
    return result


def _path(came_from: dict[int, tuple[int, str]], fingerprint: int) -> list[str]:
    steps = []
    origin, step = came_from[fingerprint]
    while step:
        steps.append(step)
        origin, step = came_from[origin]
    return steps[::-1]
