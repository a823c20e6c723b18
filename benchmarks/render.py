"""python -m benchmarks.render: benchmarks/README.md from the last whole results and page.md."""

import string
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError, results
from benchmarks.eviction import table as eviction
from benchmarks.macro import table as macro
from benchmarks.macro.summary import medians
from benchmarks.micro import check_ratio as micro
from benchmarks.scale import table as scale

DIRECTORY = Path(__file__).parent


def main() -> int:
    """Write the page; the exit code: 0 written, 1 a kind of results is missing."""
    try:
        page = render(results.read("macro"), results.read("micro"), results.read("scale"), results.read("eviction"))
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    (DIRECTORY / "README.md").write_text(page, encoding="utf-8")
    print("wrote benchmarks/README.md")
    return 0


def render(measured: dict[str, Any], compared: dict[str, Any], weighed: dict[str, Any], evicted: dict[str, Any]) -> str:
    """The page."""
    template = string.Template((DIRECTORY / "page.md").read_text(encoding="utf-8"))
    return template.substitute(
        environment=_table(("", ""), measured["environment"].items()),
        runs=measured["settings"]["runs"],
        seconds=measured["settings"]["seconds"],
        macro_provenance=measured["provenance"],
        macro="\n\n".join(_scenario(scenario) for scenario in measured["scenarios"].values()),
        micro_provenance=compared["provenance"],
        micro=_table(micro.COLUMNS, [(pair.group, *micro.numbers(pair)) for pair in micro.pairs(compared)]),
        scale_provenance=weighed["provenance"],
        scale=_table(("", ""), scale.rows(weighed)),
        eviction_provenance=evicted["provenance"],
        eviction="\n\n".join(
            (
                _table(eviction.columns(evicted), eviction.rows(evicted)),
                "\n".join(f"- {line}" for line in eviction.remarks(evicted)),
            )
        ),
    )


def _scenario(scenario: dict[str, Any]) -> str:
    rows = [
        (f"{name}: {server['title']}", *macro.numbers(medians(server["runs"])))
        for name, server in scenario["servers"].items()
    ]
    ratios = "\n".join(f"- {line}" for line in macro.remarks(scenario))
    return f"### {scenario['title']}\n\n{_table(macro.COLUMNS, rows)}\n\n{ratios}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    head = [" | ".join(columns), " | ".join(["---"] + ["---:"] * (len(columns) - 1))]
    return "\n".join(f"| {line} |" for line in [*head, *(" | ".join(row) for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
