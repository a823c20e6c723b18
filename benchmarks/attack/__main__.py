"""python -m benchmarks.attack: attack, show, keep the results."""

import argparse
import sys
from typing import Any

from benchmarks import entry
from benchmarks.attack.attacks import ATTACKS, Attack
from benchmarks.attack.measure import measure
from benchmarks.attack.table import COLUMNS, failures, notes, rows
from benchmarks.macro.ground import grounded
from benchmarks.processes import allow_descriptors

SECONDS, SHORT_SECONDS = 5, 1
DESCRIPTORS = 11_000  # the herd, and some


def main() -> int:
    """Run all attacks; the exit code: 0 all measured and no ordinary request failed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description="Attacks on the edge.")
    parser.add_argument("--short", action="store_true", help="a tenth of the attackers, for a second each")
    parser.add_argument("--only", choices=[attack.name for attack in ATTACKS], help="one attack")
    arguments = parser.parse_args()
    is_whole = not arguments.short and arguments.only is None
    chosen = [attack for attack in ATTACKS if arguments.only in (None, attack.name)]
    document = entry.measured("attack", "python -m benchmarks.attack", is_whole, lambda: _run(chosen, arguments.short))
    if document is None:
        return 1
    entry.show("Ordinary traffic under attack", COLUMNS, rows(document))
    for line in notes(document) + failures(document):
        print(line)
    return 1 if failures(document) else 0


def _run(chosen: list[Attack], is_short: bool) -> dict[str, Any]:
    allow_descriptors(DESCRIPTORS)
    with grounded(SHORT_SECONDS if is_short else SECONDS) as ground:
        return {"attacks": {attack.name: _measured(attack, measure(attack, ground, is_short)) for attack in chosen}}


def _measured(attack: Attack, measurement: dict[str, Any]) -> dict[str, Any]:
    return {"title": attack.title, "told": attack.tell(measurement["done"])} | measurement


if __name__ == "__main__":
    sys.exit(main())
