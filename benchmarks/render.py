"""python -m benchmarks.render: benchmarks/README.md from the last whole results and page.md."""

import string
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError, results
from benchmarks.attack import table as attack
from benchmarks.clicks import table as clicks
from benchmarks.eviction import table as eviction
from benchmarks.freshness import table as freshness
from benchmarks.idle import table as idle
from benchmarks.macro import table as macro
from benchmarks.macro.summary import medians, ratios
from benchmarks.micro import check_ratio as micro
from benchmarks.moves import table as moves
from benchmarks.reshard import table as reshard
from benchmarks.scale import table as scale
from benchmarks.soak import table as soak

DIRECTORY = Path(__file__).parent
KINDS = (
    "macro",
    "idle",
    "attack",
    "soak",
    "micro",
    "scale",
    "clicks",
    "eviction",
    "moves",
    "reshard",
    "faults",
    "freshness",
)


def main() -> int:
    """Write the page; the exit code: 0 written, 1 a kind of results is missing."""
    try:
        page = render({kind: results.read(kind) for kind in KINDS})
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    (DIRECTORY / "README.md").write_text(page, encoding="utf-8")
    print("wrote benchmarks/README.md")
    return 0


def render(documents: dict[str, dict[str, Any]]) -> str:
    """The page."""
    template = string.Template((DIRECTORY / "page.md").read_text(encoding="utf-8"))
    measured, soaked = documents["macro"], documents["soak"]
    provenances = {f"{kind}_provenance": document["provenance"] for kind, document in documents.items()}
    return template.substitute(
        provenances,
        environment=_table(("", ""), measured["environment"].items()),
        runs=measured["settings"]["runs"],
        seconds=measured["settings"]["seconds"],
        macro="\n\n".join(_scenario(scenario) for scenario in measured["scenarios"].values()),
        idle=_table(idle.COLUMNS, idle.rows(documents["idle"])),
        attack=_table(attack.COLUMNS, attack.rows(documents["attack"])),
        attack_notes="\n".join(f"- {note}" for note in attack.notes(documents["attack"])),
        soak_seconds=soaked["seconds"],
        soak=_table(soak.COLUMNS, soak.rows(soaked)),
        soak_picture=soak.picture(soaked),
        micro=_table(micro.COLUMNS, [(pair.group, *micro.numbers(pair)) for pair in micro.pairs(documents["micro"])]),
        scale=_table(("", ""), scale.rows(documents["scale"])),
        clicks_measured=f"{documents['clicks']['size']['clicks']:,}",
        clicks_population=f"{documents['clicks']['size']['population']:,}",
        clicks_ingest=_table(clicks.COLUMNS, clicks.ingest_rows(documents["clicks"])),
        clicks_tables=_table(clicks.TABLE_COLUMNS, clicks.table_rows(documents["clicks"])),
        clicks_latencies=_table(clicks.LATENCY_COLUMNS, clicks.latency_rows(documents["clicks"])),
        moves_links=f"{documents['moves']['links']:,}",
        moves=_table(moves.COLUMNS, moves.rows(documents["moves"])),
        reshard_links=f"{documents['reshard']['links']:,}",
        reshard_rate=f"{documents['reshard']['rate']:,.0f}",
        reshard_changes=documents["reshard"]["changes"],
        reshard_pace=f"{documents['reshard']['pace']:,}",
        reshard=_table(reshard.COLUMNS, reshard.rows(documents["reshard"])),
        faults_pace=f"{documents['faults']['pace']:,}",
        faults=_table(reshard.FAULTS_COLUMNS, reshard.faults_rows(documents["faults"])),
        freshness_workers=documents["freshness"]["workers"],
        freshness=_table(freshness.COLUMNS, freshness.rows(documents["freshness"])),
        eviction="\n\n".join(
            (
                _table(eviction.columns(documents["eviction"]), eviction.rows(documents["eviction"])),
                "\n".join(f"- {line}" for line in eviction.remarks(documents["eviction"])),
            )
        ),
    )


def _scenario(scenario: dict[str, Any]) -> str:
    parts = [f"### {scenario['title']}"]
    servers = scenario["servers"].items()
    rows = [(f"{name}: {server['title']}", *macro.numbers(medians(server["runs"]))) for name, server in servers]
    if rows:
        parts.append(_table(macro.COLUMNS, rows))
    compared = [macro.ratio_cells(ratio) for ratio in ratios(scenario)]
    if compared:
        parts.append(_table(macro.RATIO_COLUMNS, compared))
    remarks = macro.remarks(scenario)
    if remarks:
        parts.append("\n".join(f"- {line}" for line in remarks))
    return "\n\n".join(parts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    head = [" | ".join(columns), " | ".join(["---"] + ["---:"] * (len(columns) - 1))]
    return "\n".join(f"| {line} |" for line in [*head, *(" | ".join(row) for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
