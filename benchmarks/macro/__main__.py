"""python -m benchmarks.macro: measure, show, keep the results."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import BenchmarkError, environment, results
from benchmarks.macro import links
from benchmarks.macro.ground import grounded
from benchmarks.macro.measure import measure, saturation
from benchmarks.macro.rivals import RIVALS, Rival
from benchmarks.macro.scenarios import SCENARIOS, Scenario
from benchmarks.macro.table import show

SHORT_RUNS, SHORT_SECONDS = 1, 1


def main() -> int:
    """Run what was asked for; the exit code: 0 all measured, 1 something failed."""
    arguments = _parse(sys.argv[1:])
    console = Console()
    try:
        document = _run(arguments, console)
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1
    show(document, console)
    is_whole = not arguments.short and arguments.only is None
    results.write("macro" if is_whole else "macro-part", document)
    return 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.macro", description="Servers under load, on one core.")
    parser.add_argument("--runs", type=int, default=5, help="turns of each server; the median is shown")
    parser.add_argument("--seconds", type=int, default=4, help="length of a turn")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS], help="one scenario")
    parser.add_argument("--short", action="store_true", help="one turn of a second each, to see that all works")
    arguments = parser.parse_args(words)
    if arguments.short:
        arguments.runs, arguments.seconds = SHORT_RUNS, SHORT_SECONDS
    return arguments


def _run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    chosen = [scenario for scenario in SCENARIOS if arguments.only in (None, scenario.name)]
    document = _document(arguments, chosen)
    turns = list(_turns(chosen, arguments.runs))
    with grounded(arguments.seconds) as ground, _progress(console) as progress:
        bar = progress.add_task("", total=len(turns))
        for turn, scenario, rival in turns:
            progress.update(bar, description=f"{scenario.name}, {rival.name}, turn {turn} of {arguments.runs}")
            results_of = document["scenarios"][scenario.name]
            with _named(scenario, rival):
                if scenario.half_load_of and not results_of["rate"]:
                    results_of["rate"] = saturation(RIVALS[scenario.half_load_of], scenario, ground) / 2
                measured = measure(rival, scenario, ground, results_of["rate"])
            results_of["servers"][rival.name]["runs"].append(measured)
            progress.console.print(_line(scenario, rival, measured), highlight=False, soft_wrap=True)
            progress.advance(bar)
    return document


def _turns(chosen: list[Scenario], runs: int) -> Iterator[tuple[int, Scenario, Rival]]:
    """Rivals of a scenario take turns, so that what changes on the machine meanwhile meets all of them.

    Every other turn goes backwards: none is always the one that comes after a certain other.
    """
    for scenario in chosen:
        names = [name for name in scenario.rivals if not RIVALS[name].missing()]
        for turn in range(1, runs + 1):
            for name in names if turn % 2 else reversed(names):
                yield turn, scenario, RIVALS[name]


@contextlib.contextmanager
def _named(scenario: Scenario, rival: Rival) -> Iterator[None]:
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{scenario.name}, {rival.name}: {error}") from error


def _document(arguments: argparse.Namespace, chosen: list[Scenario]) -> dict[str, Any]:
    command = f"python -m benchmarks.macro --runs {arguments.runs} --seconds {arguments.seconds}"
    return {
        "provenance": environment.provenance(command),
        "environment": environment.describe(),
        "settings": {"runs": arguments.runs, "seconds": arguments.seconds, "links": links.COUNT},
        "scenarios": {scenario.name: _empty(scenario) for scenario in chosen},
    }


def _empty(scenario: Scenario) -> dict[str, Any]:
    missing = {name: RIVALS[name].missing() for name in scenario.rivals}
    return {
        "title": scenario.title,
        "connections": scenario.connections,
        "of": scenario.of,
        "against": scenario.against,
        "compared": scenario.compared,
        "rate": 0.0,
        "servers": {name: {"title": RIVALS[name].title, "runs": []} for name in scenario.rivals if not missing[name]},
        "missing": {name: reason for name, reason in missing.items() if reason},
    }


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, refresh_per_second=1, transient=True)


def _line(scenario: Scenario, rival: Rival, measured: dict[str, float]) -> str:
    numbers = f"{measured['requests_per_s']:>9,.0f} requests/s {measured['cpu_us']:>6.2f} µs CPU"
    return f"{scenario.name:<16} {rival.name:<16} {numbers}  p99 {measured['p99_us'] / 1000:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
