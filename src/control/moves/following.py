"""Following a move on a terminal until it ends."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live

from control.errors import Error
from control.moves import sheets
from control.moves.model import Move
from control.moves.service import Moves
from control.moves.steps import STEPS

LOOK_INTERVAL_S: Final = 0.25
# The rate is that of this time: shorter and it flickers with each page, longer and it hides a throttle.
RATE_WINDOW_S: Final = 5.0
# What each work counts as it goes.
_COUNTED: Final = {"copy": "rows", "verify": "verified", "remove": "removed"}


class Rate:
    """How many links a second the work of a phase does, of late."""

    def __init__(self) -> None:
        self._phase = ""
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, move: Move, now_s: float) -> float | None:
        """The rate after one more look; None as long as it cannot be told."""
        work = STEPS[move.phase].work
        if work is None or move.phase != self._phase:
            self._phase = move.phase
            self._seen.clear()
        if work is None:
            return None
        self._seen.append((now_s, move.work.get("counts", {}).get(_COUNTED[work], 0)))
        while self._seen[-1][0] - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return max(0, last - first) / (last_s - first_s) if last_s > first_s else None


async def follow(moves: Moves, move_id: int, console: Console) -> Move:
    """The move at its end. Without a terminal, what has changed is printed as lines."""
    if not console.is_terminal:
        return await _follow(moves, move_id, _Lines(console).show)
    with Live(console=console, auto_refresh=False) as live:
        return await _follow(
            moves, move_id, lambda move, rate: live.update(sheets.of_progress(move, rate), refresh=True)
        )


class _Lines:
    """For logs and pipes: a line for each phase and for each new reason to wait."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: tuple[object, ...] = ()

    def show(self, move: Move, rate: float | None) -> None:
        now = (move.phase, move.is_paused, move.wanted, move.waits_for, move.error)
        if now != self._said:
            self._said = now
            self._console.print("; ".join(sheets.lines_of(move, rate)), markup=False, highlight=False, soft_wrap=True)


async def _follow(moves: Moves, move_id: int, show: Callable[[Move, float | None], None]) -> Move:
    rate = Rate()
    clock = asyncio.get_running_loop().time
    while True:
        try:
            move = await moves.get(move_id)
        except Error as error:
            if error.code != "database_unavailable":
                raise
        else:
            show(move, rate.of(move, clock()))
            if STEPS[move.phase].is_end:
                return move
        await asyncio.sleep(LOOK_INTERVAL_S)
