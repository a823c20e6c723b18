"""The phases of moves as PostgreSQL tells them, at the commit that begins them; and orders given for one beforehand."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, Self, cast

import asyncpg

from benchmarks import BenchmarkError
from control.moves.steps import STEPS, Phase

CHANNEL: Final = "bench_moves"
# A move has ended, one way or the other, long before.
WAIT_S: Final = 900
_ENDS: Final = frozenset(phase for phase, step in STEPS.items() if step.is_end)

_TELL: Final = f"""
CREATE OR REPLACE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', NEW.id || ' ' || NEW.phase || ' ' || clock_timestamp());
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER bench_tell AFTER INSERT OR UPDATE ON moves FOR EACH ROW EXECUTE FUNCTION bench_tell();
CREATE OR REPLACE FUNCTION bench_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.phase = TG_ARGV[0] AND (TG_OP = 'INSERT' OR OLD.phase <> NEW.phase) THEN
        NEW.wanted := TG_ARGV[1];
    END IF;
    RETURN NEW;
END $$;
"""


class Phases:
    """What moves do. Every change of a move's row is told, also those within a phase, such as of its progress."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self._told: asyncio.Queue[tuple[int, Phase]] = asyncio.Queue()
        self._connection: Any = self._runner.run(asyncpg.connect(dsn))
        self.execute(_TELL)
        self._runner.run(self._connection.add_listener(CHANNEL, self._hear))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.terminate()
        self._runner.close()

    def order(self, phase: Phase, wanted: str) -> None:
        """Let every move want to be aborted, or reversed, from the moment at which this phase begins."""
        assert re.fullmatch("[a-z_]+", phase + wanted)
        self.forget_order()
        self.execute(
            f"CREATE TRIGGER bench_order BEFORE INSERT OR UPDATE ON moves "
            f"FOR EACH ROW EXECUTE FUNCTION bench_order('{phase}', '{wanted}')"
        )

    def forget_order(self) -> None:
        """Let moves be."""
        self.execute("DROP TRIGGER IF EXISTS bench_order ON moves")

    def follow(self, move: int, on_change: Callable[[Phase], None]) -> Phase:
        """Hear of each change of a move until it has ended; the phase that it ended in."""
        while (phase := self._next(move)) not in _ENDS:
            on_change(phase)
        return phase

    def until(self, move: int, phase: Phase) -> None:
        """Wait for a phase; raises BenchmarkError if the move ends without it."""
        while (present := self._next(move)) != phase:
            if present in _ENDS:
                raise BenchmarkError(f"move {move} is {present} and has not been {phase}")

    def execute(self, statement: str) -> None:
        """Run a statement."""
        self._runner.run(self._connection.execute(statement))

    def fetch(self, query: str, *arguments: Any) -> Any:
        """The first value of a query."""
        return self._runner.run(self._connection.fetchval(query, *arguments))

    def _next(self, move: int) -> Phase:
        async def get() -> Phase:
            async with asyncio.timeout(WAIT_S):
                while (told := await self._told.get())[0] != move:
                    pass
            return told[1]

        try:
            return self._runner.run(get())
        except TimeoutError as error:
            waits_for = self.fetch(
                "SELECT phase || ': ' || coalesce(waits_for, error, '') FROM moves WHERE id = $1", move
            )
            raise BenchmarkError(f"move {move} said nothing for {WAIT_S} s: {waits_for}") from error

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        move, phase, _ = payload.split(" ", 2)
        self._told.put_nowait((int(move), cast("Phase", phase)))
