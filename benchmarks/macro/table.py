"""The results as rows of text, for the terminal and for the page."""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.macro.summary import OTHERS_SHARE_MAX, Ratio, medians, others_share, ratios

COLUMNS = ("server", "requests/s", "CPU µs", "Redis µs", "p50 ms", "p99 ms", "server", "load", "others")


def show(document: dict[str, Any], console: Console) -> None:
    """Print all scenarios."""
    for scenario in document["scenarios"].values():
        table = Table(COLUMNS[0], title=scenario["title"], title_justify="left", box=None, padding=(0, 1, 0, 0))
        for column in COLUMNS[1:]:
            table.add_column(column, justify="right")
        for name, server in scenario["servers"].items():
            table.add_row(name, *numbers(medians(server["runs"])))
        console.print(table)
        for line in remarks(scenario):
            console.print(line, highlight=False, soft_wrap=True)


def numbers(middle: dict[str, float]) -> tuple[str, ...]:
    """The cells behind a server's name."""
    return (
        f"{middle['requests_per_s']:,.0f}",
        f"{middle['cpu_us']:.2f}",
        f"{middle['redis_cpu_us']:.2f}",
        f"{middle['p50_us'] / 1000:.2f}",
        f"{middle['p99_us'] / 1000:.2f}",
        f"{middle['server_share']:.0%}",
        f"{middle['load_share']:.0%}",
        f"{middle['others_share']:.0%}",
    )


def remarks(scenario: dict[str, Any]) -> list[str]:
    """One line a ratio, then what the reader must know before trusting them."""
    lines = [_ratio_line(ratio) for ratio in ratios(scenario)]
    lines += [f"Not measured: {name} needs {reason}" for name, reason in scenario["missing"].items()]
    disturbance = others_share(scenario)
    if disturbance > OTHERS_SHARE_MAX:
        lines.append(f"Disturbed: other processes had {disturbance:.0%} of the server's core; measure again when idle")
    return lines


def _ratio_line(ratio: Ratio) -> str:
    return f"CPU per request, {ratio.of} / {ratio.to}: {ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"
