"""Commands as an operator types them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.control.station import DEADLINE_S

SRC = str(Path(__file__).parents[2] / "src")


def run_command(url: str, *arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `pointsman` with these arguments on a wide terminal; `typed` is what is answered to its questions."""
    environ = os.environ | {"PYTHONPATH": SRC, "POINTSMAN_DATABASE_URL": url, "COLUMNS": "220"} | settings
    return subprocess.run(
        [sys.executable, "-m", "control", *arguments],
        env=environ, input=typed, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False,
    )  # fmt: skip
