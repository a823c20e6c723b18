"""An act: a quiet time to compare with, what is done under load and changes, and what it has left behind."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import processes
from benchmarks.load.generator import BROKEN, Report
from benchmarks.reshard.acts import Act, Done
from benchmarks.reshard.inspection import inspect
from benchmarks.reshard.stage import Stage

# So long the load goes on behind the end of a move: what is then answered wrongly is the move's fault too.
AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What PostgreSQL did during an act; CPU in parts of a core."""

    postgres: float
    transactions_s: float
    rows_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """An act as it went. `quiet` and `report` are the client's counts before and during it, `changes` the changer's."""

    name: str
    title: str
    seconds: float
    phase: str
    phases: dict[str, float]
    counts: dict[str, int]
    bytes: int
    postgres: Load
    quiet: Report | None
    report: Report
    others: Sequence[Report]
    changes: dict[str, Any]
    failures: list[str] = field(default_factory=list)


def play(stage: Stage, act: Act, quiet_s: float) -> Played:
    """Play one act; with `quiet_s`, so long a load without any move is measured before it."""
    quiet = _quiet(stage, quiet_s) if quiet_s else None
    stage.tell(f"  {act.title}")
    with stage.changing() as changer, stage.loading() as load:
        before = _postgres(stage)
        started = time.monotonic()
        done = act.play(stage)
        seconds = time.monotonic() - started
        after = _postgres(stage)
        time.sleep(AFTER_S)
        changes, report = changer.stop(), load.stop()
    stage.phases.forget_order()
    move = stage.call("GET", f"/api/v1/moves/{done.move}")
    spent = [now - then for now, then in zip(after, before, strict=True)]
    return Played(
        name=act.name,
        title=act.title,
        seconds=seconds,
        phase=done.phase,
        phases=_durations(stage, done.move),
        counts=move["counts"],
        bytes=move["plan"]["bytes"],
        postgres=Load(
            postgres=spent[0] / 1e6 / seconds,
            transactions_s=spent[1] / seconds,
            rows_s=spent[2] / seconds,
        ),
        quiet=quiet,
        report=report,
        others=done.reports,
        changes=changes,
        failures=[*_failures(act, done, report, changes), *inspect(stage, done)],
    )


def _quiet(stage: Stage, seconds: float) -> Report:
    with stage.changing(), stage.loading() as load:
        time.sleep(seconds)
        return load.stop()


def _failures(act: Act, done: Done, report: Report, changes: dict[str, Any]) -> list[str]:
    """What no act may do to a client."""
    found = [] if done.phase == act.end else [f"the move ended as {done.phase}, not as {act.end}"]
    for each in (report, *done.reports):
        errors = {kind: count for kind, count in each.errors.items() if count}
        if act.is_costly:
            errors = {kind: count for kind, count in errors.items() if kind not in BROKEN}
        if errors:
            found.append(
                f"of {each.asked:,} requests there were {errors}; answers: {each.statuses}; first: {each.wrong}"
            )
        if not each.answered:
            found.append("nothing was answered")
    refused = {what: count for what, count in changes["counts"].items() if what.startswith("status")}
    if refused or not changes["counts"].get("confirmed"):
        found.append(f"changes: {changes['counts']}")
    return found


def _postgres(stage: Stage) -> tuple[float, float, float]:
    """CPU time of all of PostgreSQL in microseconds, its transactions, and the rows that it has read."""
    pid = stage.product.pids()["postgres"]
    query = "SELECT sum({})::float8 FROM pg_stat_database"
    return (
        processes.family_us(pid),
        stage.phases.fetch(query.format("xact_commit")),
        stage.phases.fetch(query.format("tup_returned")),
    )


def _durations(stage: Stage, move: int) -> dict[str, float]:
    """How long each phase took, summed up."""
    query = """
    SELECT json_object_agg(phase, seconds)::text FROM (
        SELECT phase, sum(seconds)::float8 AS seconds FROM (
            SELECT phase, extract(epoch FROM lead(at) OVER (ORDER BY number) - at) AS seconds
            FROM move_events WHERE move_id = $1
        ) AS spans WHERE seconds IS NOT NULL GROUP BY phase
    ) AS sums
    """
    durations: dict[str, float] = json.loads(stage.phases.fetch(query, move) or "{}")
    return durations
