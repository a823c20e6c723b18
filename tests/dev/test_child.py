"""Supervising one program."""

import asyncio
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from control.dev.child import BACKOFF_FIRST_S, DEATHS_MAX, DEATHS_WINDOW_S, Child, backoff_s
from control.dev.program import Program, kill_group, spawn, tail
from control.errors import Error

PROMPT_S = 20


def _program(tmp_path: Path, code: str) -> Program:
    """A Python program that is ready when it has made the file `ready`."""
    ready = tmp_path / "ready"
    return Program(
        name="program",
        command=(sys.executable, "-c", code.replace("READY", f"open({str(ready)!r}, 'w').close()")),
        log=tmp_path / "program.log",
        is_ready=ready.exists,
    )


@pytest.mark.parametrize(
    ("deaths", "expected"),
    [
        ([100.0], BACKOFF_FIRST_S),
        ([99.0, 100.0], BACKOFF_FIRST_S * 2),
        ([97.0, 98.0, 99.0, 100.0], BACKOFF_FIRST_S * 8),
        ([96.0, 97.0, 98.0, 99.0, 100.0], None),
        ([100.0 - DEATHS_WINDOW_S] * DEATHS_MAX + [100.0], BACKOFF_FIRST_S),
    ],
)
def test_the_pause_grows_until_it_is_too_much(deaths: list[float], expected: float | None) -> None:
    """Each death within the window doubles the pause; too many are the end; old ones are forgotten."""
    assert backoff_s(deaths, now=100.0) == expected


def test_a_program_that_dies_is_named_and_started_again(tmp_path: Path) -> None:
    """The announcement has the cause and the last lines of the log."""

    async def scene() -> list[str]:
        lines: list[str] = []
        restarted = asyncio.Event()
        child = Child(
            _program(tmp_path, "print('last words', flush=True); READY; import signal; signal.pause()"),
            (),
            lines.append,
        )
        await child.start()
        first = child.pid
        keeping = asyncio.create_task(child.keep(restarted.set))
        os.kill(first, signal.SIGKILL)
        await asyncio.wait_for(restarted.wait(), PROMPT_S)
        assert child.pid not in (0, first)
        keeping.cancel()
        await child.stop()
        return lines

    lines = asyncio.run(scene())
    assert "program ended with SIGKILL" in lines[0]
    assert "last words" in lines[0]
    assert str(tmp_path / "program.log") in lines[0]
    assert lines[1] == "program runs again"


def test_a_program_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The error has the exit code and the end of the log."""

    async def scene() -> None:
        await Child(_program(tmp_path, "import sys; sys.exit('no such luck')"), (), print).start()

    with pytest.raises(Error, match=r"(?s)program ended with exit code 1.*no such luck"):
        asyncio.run(scene())


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    """A child of the program that outlives it is killed before the program is started again."""
    code = (
        "import subprocess, signal; orphan = subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE);"
        " print(orphan.pid, flush=True); READY; signal.pause()"
    )

    async def scene() -> int:
        child = Child(_program(tmp_path, code), (), print)
        await child.start()
        orphan = os.pidfd_open(int((tmp_path / "program.log").read_text()))
        os.kill(child.pid, signal.SIGKILL)
        await child.stop()
        return orphan

    orphan = asyncio.run(scene())
    assert _has_ended(orphan)


def test_programs_are_out_of_reach_of_the_terminal(tmp_path: Path) -> None:
    """Ctrl-C goes to the launcher alone, which stops the programs in their order."""
    process = spawn(_program(tmp_path, "import signal; signal.pause()"))
    assert os.getsid(process.pid) == process.pid
    kill_group(process)
    assert process.wait(PROMPT_S) == -signal.SIGKILL


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    """However long the log is."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(log, lines=2) == "    line 99998\n    line 99999"
    assert tail(tmp_path / "none") == "    (nothing)"


def _has_ended(handle: int) -> bool:
    try:
        return select.select([handle], [], [], PROMPT_S)[0] == [handle]
    finally:
        os.close(handle)
