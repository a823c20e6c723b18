"""What a result must say of the machine and the software it was measured with, and nothing that names either."""

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = ("cython", "hiredis", "uvloop")
# A program, and how it is asked for its version.
PROGRAMS = {
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
    "redis-server": ("redis-server", "--version"),
    "cc": ("cc", "--version"),
}
_VERSION = re.compile(r"\d+\.\d+(\.\d+)*")


def provenance(command: str) -> str:
    """A line that says how, of what and when something was measured."""
    day = datetime.now(UTC).date().isoformat()
    return f"`{command}`, {_revision() or 'no revision'}, {day}"


def describe() -> dict[str, str]:
    """The machine and the software: name and value of each, in the order in which they are shown."""
    properties = {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    versions = {package: metadata.version(package) for package in PACKAGES}
    versions |= {name: _program_version(*arguments) for name, arguments in PROGRAMS.items()}
    return {name: value for name, value in (properties | versions).items() if value}


def which(program: str) -> str | None:
    """Where a program is; Debian keeps servers outside an ordinary user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _cpu_model() -> str:
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.+)$", cpus, re.MULTILINE)
    return model.group(1).strip() if model else platform.machine()


def _program_version(program: str, question: str) -> str:
    executable = which(program)
    if executable is None:
        return ""
    # wrk prints its version and exits with 1; nginx prints it to stderr.
    answer = subprocess.run([executable, question], capture_output=True, text=True, check=False)
    version = _VERSION.search(answer.stdout + answer.stderr)
    return version.group() if version else ""


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""  # an unpacked sdist has no history
    return f"revision {commit.stdout.strip()}" + (" with changes" if changes.stdout.strip() else "")
