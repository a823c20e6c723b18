"""Commands as an operator types them."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from control.cli import main
from tests.control.station import DEADLINE_S

SRC = str(Path(__file__).parents[2] / "src")
_COLUMNS = "220"


def run_command(url: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `pointsman` as a process, on a wide terminal; `typed` is what is answered to its questions."""
    environ = os.environ | {"PYTHONPATH": SRC, "POINTSMAN_DATABASE_URL": url, "COLUMNS": _COLUMNS}
    return subprocess.run(
        [sys.executable, "-m", "control", *arguments],
        env=environ, input=typed, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False,
    )  # fmt: skip


def invoke(url: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """The same within this process, which is quicker; for commands that do not log."""
    environ = {"POINTSMAN_DATABASE_URL": url, "COLUMNS": _COLUMNS}
    result = CliRunner(env=environ).invoke(main, arguments, input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
