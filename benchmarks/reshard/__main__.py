"""python -m benchmarks.reshard: move links under load, strike, inspect, keep the results."""

import argparse
import sys
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from benchmarks import entry
from benchmarks.reshard import population
from benchmarks.reshard.acts import FAULTS, MOVES, Act
from benchmarks.reshard.run import Played, play
from benchmarks.reshard.stage import Loads, Tell, staged
from benchmarks.reshard.table import COLUMNS, FAULTS_COLUMNS, faults_rows, rows

LINKS, SHORT_LINKS = 2_000_000, 20_000
RATE, SHORT_RATE = 5_000, 2_000
CHANGES, SHORT_CHANGES = 200, 50
QUIET_S, SHORT_QUIET_S = 20, 3
# Long enough not to come round in a minute or two.
TURNS_PER_LINK: Final = 2
SOAK_S: Final = 5
# Links a second that are copied: in the first four moves as it is shipped; with faults five times as much, and as
# many removed, for the sake of whoever waits.
PACE, FAULTS_PACE = 20_000, 100_000


def main() -> int:
    """Run it; the exit code: 0 nothing was wrong in any act, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reshard", description="Move links under load.")
    parser.add_argument("--faults", action="store_true", help="the moves in which something is killed")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINKS:,} links, and the first move alone")
    parser.add_argument("--links", type=int, default=LINKS, help=f"{LINKS:,}, which the page needs")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second; 0: as many as are answered")
    names = [act.name for act in (*MOVES, *FAULTS)]
    parser.add_argument("--only", choices=names, action="append", help="of these, this act")
    arguments = parser.parse_args()
    acts = [
        act for act in (FAULTS if arguments.faults else MOVES) if arguments.only is None or act.name in arguments.only
    ]
    if not acts:
        parser.error("--only: acts with faults need --faults, the others must not have it")
    if arguments.short:
        arguments.links, arguments.rate, acts = SHORT_LINKS, SHORT_RATE, acts[:1]
    is_whole = arguments.links >= LINKS and arguments.rate == RATE and arguments.only is None
    console = Console()
    kind = "faults" if arguments.faults else "reshard"
    command = "python -m benchmarks.reshard" + (" --faults" if arguments.faults else "")
    document = entry.measured(kind, command, is_whole, lambda: _run(acts, arguments, console))
    if document is None:
        return 1
    columns, lines = (FAULTS_COLUMNS, faults_rows(document)) if arguments.faults else (COLUMNS, rows(document))
    entry.show(f"{arguments.links:,} links under load", columns, lines)
    failures = [f"{act['title']}: {line}" for act in document["acts"] for line in act["failures"]]
    for line in failures:
        console.print(line, style="red", markup=False)
    return 1 if failures else 0


def _run(acts: list[Act], arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    is_short = arguments.short
    settings = {"POINTSMAN_MOVES_SOAK_S": str(SOAK_S)}
    if arguments.faults:
        settings |= dict.fromkeys(("POINTSMAN_MOVES_COPY_LINKS_S", "POINTSMAN_MOVES_REMOVE_LINKS_S"), str(FAULTS_PACE))
    with entry.scratch() as directory:

        def tell(line: str) -> None:
            console.print(line, highlight=False, markup=False)

        tell(f"importing {arguments.links:,} links")
        links = population.make(directory, arguments.links, TURNS_PER_LINK * arguments.links)
        changes = SHORT_CHANGES if is_short else CHANGES
        loads = Loads(rate=arguments.rate, changes=changes, is_measured=True)
        with staged(directory, links, tell, settings, loads) as stage:
            played = []
            for act in acts:
                quiet_s = (SHORT_QUIET_S if is_short else QUIET_S) if act in MOVES else 0
                played.append(play(stage, act, quiet_s))
                _tell_act(played[-1], tell)
    return {
        "links": arguments.links,
        "rate": arguments.rate,
        "changes": changes,
        "pace": FAULTS_PACE if arguments.faults else PACE,
        "acts": [asdict(each) for each in played],
    }


def _tell_act(played: Played, tell: Tell) -> None:
    """An hour may pass until all of them are shown."""
    tell(f"    {played.phase} in {played.seconds:.0f} s, {played.report.answered:,} answers")
    for line in played.failures:
        tell(f"    FAILED: {line}")


if __name__ == "__main__":
    sys.exit(main())
