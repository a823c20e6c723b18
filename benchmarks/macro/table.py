"""The results as rows of text, for the terminal and for the page."""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.macro.summary import OTHERS_SHARE_MAX, Ratio, medians, others_share, ratios

COLUMNS = ("server", "requests/s", "CPU µs", "Redis µs", "p50 ms", "p99 ms", "bytes", "server", "load", "others")
RATIO_COLUMNS = ("ratio", "target", "median", "least", "most")


def show(document: dict[str, Any], console: Console) -> None:
    """Print all scenarios."""
    for scenario in document["scenarios"].values():
        table = Table(COLUMNS[0], title=scenario["title"], title_justify="left", box=None, padding=(0, 1, 0, 0))
        for column in COLUMNS[1:]:
            table.add_column(column, justify="right")
        for name, server in scenario["servers"].items():
            table.add_row(name, *numbers(medians(server["runs"])))
        console.print(table)
        for ratio in ratios(scenario):
            console.print(_line(ratio), highlight=False, soft_wrap=True)
        for line in remarks(scenario):
            console.print(line, highlight=False, soft_wrap=True, markup=False)


def numbers(middle: dict[str, float]) -> tuple[str, ...]:
    """The cells behind a server's name."""
    return (
        f"{middle['requests_per_s']:,.0f}",
        f"{middle['cpu_us']:.2f}",
        f"{middle['redis_cpu_us']:.2f}",
        f"{middle['p50_us'] / 1000:.2f}",
        f"{middle['p99_us'] / 1000:.2f}",
        f"{middle['bytes_per_answer']:.0f}",
        f"{middle['server_share']:.0%}",
        f"{middle['load_share']:.0%}",
        f"{middle['others_share']:.0%}",
    )


def ratio_cells(ratio: Ratio) -> tuple[str, ...]:
    """A ratio with its target and its spread."""
    target = "" if ratio.target is None else f"≤ {ratio.target:.2f}"
    name = f"{ratio.what}, {ratio.of} / {ratio.to}"
    return name, target, f"{ratio.median:.2f}", f"{ratio.least:.2f}", f"{ratio.most:.2f}"


def remarks(scenario: dict[str, Any]) -> list[str]:
    """What the reader must know before trusting the numbers."""
    lines = [f"Not measured: {reason} ({name})" for name, reason in scenario["missing"].items()]
    if scenario["rate"]:
        lines.append(f"The rate was {scenario['rate']:,.0f} requests a second.")
    disturbance = others_share(scenario)
    if disturbance > OTHERS_SHARE_MAX:
        lines.append(f"Disturbed: other processes had {disturbance:.0%} of the server's core; measure again when idle")
    return lines


def _line(ratio: Ratio) -> str:
    name, target, median, least, most = ratio_cells(ratio)
    return f"{name}: {median} ({least} to {most})" + (f", target {target}" if target else "")
