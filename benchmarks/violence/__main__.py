"""python -m benchmarks.violence: load, kill, compare, keep the results."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console

from benchmarks import entry
from benchmarks.violence.acts import ACTS
from benchmarks.violence.run import Plan, run
from benchmarks.violence.table import COLUMNS, rows
from tests.system.product import Product

RATE, SECONDS, LINKS = 20_000, 60, 2_000
SHORT_RATE, SHORT_SECONDS = 2_000, 12


def main() -> int:
    """Run it; the exit code: 0 every click was counted once, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.violence", description="Kill parts, count clicks.")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"how long; the page is made of {SECONDS} or more"
    )
    parser.add_argument("--rate", type=int, default=RATE, help="redirects a second")
    parser.add_argument("--only", choices=[act.name for act in ACTS], help="one act")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_SECONDS} seconds at {SHORT_RATE:,}/s")
    arguments = parser.parse_args()
    plan = Plan(
        rate=SHORT_RATE if arguments.short else arguments.rate,
        seconds=SHORT_SECONDS if arguments.short else arguments.seconds,
        links=LINKS,
        acts=[act for act in ACTS if arguments.only in (None, act.name)],
    )
    is_whole = plan.seconds >= SECONDS and plan.rate >= RATE and arguments.only is None
    console = Console()
    command = f"python -m benchmarks.violence --rate {plan.rate} --seconds {plan.seconds:g}"
    document = entry.measured("violence", command, is_whole, lambda: _run(plan, console))
    if document is None:
        return 1
    entry.show(f"{plan.rate:,} redirects a second under violence", COLUMNS, rows(document))
    for line in document["failures"]:
        console.print(line, style="red", markup=False)
    return 1 if document["failures"] else 0


def _run(plan: Plan, console: Console) -> dict[str, Any]:
    with entry.scratch() as directory:
        console.print("starting the product")
        product = Product(directory / "state").start()
        try:
            outcome = run(product, plan, directory, lambda line: console.print(line, highlight=False))
        finally:
            product.close()
    return {"rate": plan.rate, "failures": outcome.failures} | asdict(outcome)


if __name__ == "__main__":
    sys.exit(main())
