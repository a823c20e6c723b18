"""What the commands about clicks print; pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from control.clicks.reconciliation import EdgeBooks
from control.clicks.retention import Removal
from control.clicks.statistics import LinkStatistics

_BARS: Final = " ▁▂▃▄▅▆▇█"
_FACTS: Final = ("country", "city", "browser", "os", "device", "referrer")


def of_link(found: LinkStatistics) -> Iterator[Text | Table]:
    """A link's clicks: counts, the last days as bars, the values of its dimensions."""
    yield Text(f"{found.total} clicks ({found.humans} humans, {found.bots} bots)")
    yield Text(f"{found.previews} previews and {found.heads} HEAD requests besides")
    counts = [point.humans + point.bots for point in found.series]
    first, last = found.from_.date(), found.series[-1].at.date()
    yield Text(f"{first} {sparkline(counts)} {last}: {sum(counts)} clicks, about {found.visitors} visitors")
    table = Table("dimension", "value", "clicks")
    for name, breakdown in found.breakdowns.items():
        for value in breakdown.items:
            table.add_row(name, Text(value.value or "(unknown)"), str(value.clicks))
        if breakdown.other:
            table.add_row(name, Text("(all others)"), str(breakdown.other))
    yield table


def sparkline(counts: Sequence[int]) -> str:
    """A bar for each count, the highest as high as can be; only none at all is nothing."""
    highest = max(counts, default=0)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // highest)] if count else _BARS[0] for count in counts)


def line_of(name: str, data: dict[str, Any]) -> str:
    """An event of the tail as a line. What requests said of themselves is shown without control characters."""
    if name == "shard":
        return f"-- {data['shard']} is {'heard' if data['is_heard'] else 'not heard: its clicks are missing here'}"
    if name != "click":
        return f"-- {data['clicks']} clicks were not shown ({data['reason']})"
    at = datetime.fromtimestamp(data["at_ms"] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    link = data["code"] or f"link {data['link_id']}"
    facts = " ".join(data.get(fact) or "-" for fact in _FACTS)
    line = f"{at} {data['status']} {data['class']} {data.get('domain') or ''}/{link} {facts}"
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def of_books(edges: Sequence[EdgeBooks]) -> Table:
    """A row for each edge, and one for its answers to unknown codes."""
    table = Table("edge", "served", "dropped", "stored", "dead", "in flight", "missing", "reported")
    for edge in edges:
        dropped = ", ".join(f"{count} {reason}" for reason, count in edge.dropped.items() if count) or "0"
        reported = "" if edge.reported_at is None else edge.reported_at.isoformat(timespec="seconds")
        counts = (edge.stored, edge.dead, edge.in_flight, edge.missing)
        table.add_row(edge.edge_id, str(edge.served), dropped, *map(str, counts), reported)
        unknown = edge.unknown
        counts = (unknown.stored, unknown.dead, unknown.in_flight, unknown.missing)
        served = str(unknown.recorded + unknown.dropped)
        table.add_row("  unknown codes", served, str(unknown.dropped), *map(str, counts), "")
    return table


def of_removals(removals: Sequence[Removal]) -> Table:
    """What is to go."""
    table = Table("table", "partition", "from before", "rows", title="" if removals else "nothing has had its time")
    for removal in removals:
        rows = f"about {removal.rows}" if removal.partition else str(removal.rows)
        table.add_row(removal.table, removal.partition or "", removal.before.isoformat(), rows)
    return table
