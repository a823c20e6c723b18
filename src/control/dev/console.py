"""What the operator sees: progress while the stack starts, then lines. Off a terminal all is lines."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import rich.console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Console:
    """Standard output."""

    def __init__(self) -> None:
        self._console = rich.console.Console(highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=self._console,
        )  # fmt: skip

    def announce(self, text: str) -> None:
        """Show text as it is: a command in it can be copied whole."""
        self._console.print(text, markup=False, emoji=False, soft_wrap=True)

    def starting(self) -> AbstractContextManager[Any]:
        """While in it, steps are shown as they go on."""
        return self._progress if self._console.is_terminal else nullcontext()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One thing that is done while starting; several may go on at once."""
        started = time.monotonic()
        task = self._progress.add_task(title, total=1)
        yield
        self._progress.update(task, completed=1)
        if not self._console.is_terminal:
            self.announce(f"{title}: ready after {time.monotonic() - started:.1f} s")
