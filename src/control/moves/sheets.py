"""What the commands about moves print; pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from control.moves.model import Move, MoveEvent, Plan
from control.moves.steps import BACKWARD, STEPS, TURNED, Phase
from control.shards.sheets import moment

BAR_WIDTH: Final = 30
_WHAT: Final[Mapping[Phase, str]] = {
    "planned": "every shard answers, every edge is up to date",
    "arming_writes": "changes are written to both owners",
    "copying": "links are copied to their new owners",
    "verifying": "the copies are compared with PostgreSQL and the old owners",
    "arming_reads": "every edge shows that it reaches the new owners",
    "cutting_over": "edges read the new owners, and the old ones where they lack a link",
    "soaking": "edges read the new owners only; the old ones are still written",
    "finalizing": "nobody reads the old owners any more",
    "cleaning": "links are removed from their old owners",
    "done": "",
    "reversing": "edges read the old owners again",
    "restoring": "nobody reads the new owners any more",
    "compensating": "the copies are removed",
    "aborted": "",
    "reversed": "",
}
_KINDS: Final = {
    "add": "bring in {}",
    "remove": "take out {}",
    "reweight": "give {} another weight",
    "replace": "replace {}",
    "drain": "drain {}",
}


def title(kind: str, shard_id: str) -> str:
    """What a move is for."""
    return _KINDS[kind].format(shard_id)


def of_plan(planned: Plan) -> Iterator[RenderableType]:
    """What goes from where to where, in all, how long it takes, and what to know before."""
    table = Table("from", "to", "arcs", "share", "links", "bytes", title=title(planned.kind, planned.shard_id))
    for pair in planned.pairs:
        numbers = (f"{pair.arcs:,}", f"{pair.share:.2%}", f"{pair.links:,}", decimal(pair.bytes))
        table.add_row(Text(pair.from_id), Text(pair.to_id), *numbers)
    share = sum(pair.share for pair in planned.pairs)
    arcs = sum(pair.arcs for pair in planned.pairs)
    table.add_section()
    table.add_row("total", "", f"{arcs:,}", f"{share:.2%}", f"{planned.links:,}", decimal(planned.bytes))
    yield table
    yield Text(f"links and bytes are estimates; it takes about {duration(planned.seconds)} without other load")
    for warning in planned.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def of_moves(moves: Sequence[Move]) -> Table:
    """A row for each move."""
    table = Table("id", "what", "phase", "progress", "waits for", "started", "ended")
    for move in moves:
        table.add_row(
            str(move.id),
            Text(title(move.kind, move.shard_id)),
            _phase(move),
            f"{move.progress:.0%}",
            Text(move.error or move.waits_for or ""),
            moment(move.created_at),
            moment(move.ended_at),
        )
    return table


def of_history(events: Sequence[MoveEvent]) -> Table:
    """What has happened in a move."""
    table = Table("at", "what", "phase", "epoch", "detail")
    for event in events:
        detail = msgspec.json.encode(event.detail).decode() if event.detail else ""
        table.add_row(moment(event.at), event.event, event.phase, str(event.epoch), Text(detail))
    return table


def of_progress(move: Move, rate: float | None = None) -> Group:
    """Where a move is on its way; `rate` is how many links a second its work does."""
    table = Table("", "phase", "what", "", title=f"move {move.id}: {title(move.kind, move.shard_id)}", expand=False)
    way = way_of(move)
    here = way.index(move.phase)
    for place, phase in enumerate(way):
        is_over = place < here or STEPS[move.phase].is_end
        mark = "✔" if is_over else "▶" if place == here else ""
        bar: RenderableType = ""
        if place == here and STEPS[phase].work:
            bar = ProgressBar(total=1.0, completed=_fraction(move), width=BAR_WIDTH)
        table.add_row(mark, phase, _WHAT[phase], bar)
    return Group(table, *(Text(line) for line in lines_of(move, rate)))


def lines_of(move: Move, rate: float | None = None) -> Iterator[str]:
    """What is to be said beside the phase."""
    yield f"{move.phase}, {move.progress:.0%}" + (f", {rate:,.0f} links/s" if rate else "")
    counts = _said(move.work.get("counts", {}))
    if counts:
        yield counts
    if move.is_paused:
        yield f"paused; `pointsman move resume {move.id}` lets it go on"
    if move.wanted:
        yield f"asked to {move.wanted}"
    if move.waits_for:
        yield f"waits for: {move.waits_for}"
    if move.error:
        yield f"error: {move.error}"
    if not move.driver and not STEPS[move.phase].is_end:
        yield "no control process has taken it up yet; is `pointsman control` running?"
    for shard_id, links in move.work.get("leftovers", {}).items():
        if links:
            yield f"{links:,} links are left over on shard {shard_id}"


def way_of(move: Move) -> list[Phase]:
    """The phases of the way that the move is on: forward, or back from where it was given up."""
    if move.phase not in BACKWARD | {"aborted", "reversed"}:
        return _from("planned")
    if move.is_reversed or move.phase in TURNED:
        return _from("reversing", end="reversed")
    return _from("compensating", end="aborted")


def _from(phase: Phase, end: Phase = "done") -> list[Phase]:
    way = [phase]
    while (following := STEPS[way[-1]].worked) is not None:
        way.append(following)
    return [*way[:-1], end]


def duration(seconds: float) -> str:
    """As people say it."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fraction(move: Move) -> float:
    fraction: float = move.work.get("fraction", 0.0)
    return min(1.0, max(0.0, fraction))


def _phase(move: Move) -> Text:
    if move.is_paused:
        return Text(f"{move.phase} (paused)", style="yellow")
    return Text(move.phase)


def _said(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items() if number)
