"""What every `python -m benchmarks.<kind>` does with what it measured."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, environment, results

Row = tuple[str, ...]


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for a stack, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # run by root, PostgreSQL becomes another user, who must find its way
        yield directory


def measured(kind: str, command: str, is_whole: bool, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Do the work and keep its results, under another name if not whole; None after an error, which it shows."""
    console = Console()
    try:
        document = {"provenance": environment.provenance(command)} | work()
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return None
    results.write(kind if is_whole else f"{kind}-short", document)
    return document


def show(title: str, columns: Row, rows: list[Row]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
