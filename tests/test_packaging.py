"""What is delivered: an sdist that can be built, and a wheel that works without the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD_TIMEOUT_S = 280
# Beside what the sources name: what a wheel is useless without.
DATA = ("control/migrations/*.sql", "control/projection/*.lua", "*/py.typed", "*/**/*.pyi", "*/**/*.pxd")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_TIMEOUT_S)]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an sdist of the checkout and a wheel built from that sdist."""
    checkout = tmp_path_factory.mktemp("checkout") / "pointsman"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.so", "_*.c", "*.egg-info", "__pycache__", "results")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(checkout / "dist"), str(checkout))
    environ = {**os.environ, "CFLAGS": "-O0"}  # what is delivered is looked at, not timed
    result = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return checkout / "dist"


def test_the_sdist_has_all_sources_and_nothing_generated(delivered: Path) -> None:
    """It can be built with nothing else, and what Cython makes is made at the build."""
    (sdist,) = delivered.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py*") if path.suffix not in (".pyc", "")}
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names
    assert sources - names == set()
    assert [name for name in names if name.endswith((".c", ".so"))] == []


def test_the_wheel_has_its_data(delivered: Path) -> None:
    """Every file that the code reads, and every type that its users check with."""
    (wheel,) = delivered.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {str(path.relative_to(ROOT / "src")) for pattern in DATA for path in (ROOT / "src").glob(pattern)}
    assert wanted
    assert wanted - names == set()
    assert "control/docs.html" in names
    assert any(name.endswith("/LICENSE") for name in names)
    assert [name for name in names if name.endswith(".c")] == []


def test_the_wheel_works_outside_the_repository(delivered: Path, tmp_path: Path) -> None:
    """Installed into an empty environment, the command runs and the compiled modules load."""
    (wheel,) = delivered.glob("*.whl")
    python = _empty_environment(tmp_path / "venv")
    install = (sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    subprocess.run(install, check=True, capture_output=True)
    assert "migrate" in _run(tmp_path, str(python.parent / "pointsman"), "--help")
    code = (
        "import edge._fast, control.clicks._fold, control.moves._pages; print(edge._fast.__file__); "
        "from control.migrations import available; assert available()"
    )
    assert _run(tmp_path, str(python), "-c", code).startswith(str(tmp_path))


def _run(directory: Path, *command: str) -> str:
    """What a command prints that knows nothing of the checkout."""
    environ = {"PATH": os.defpath}
    return subprocess.run(command, cwd=directory, env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout


def _empty_environment(directory: Path) -> Path:
    """A new environment's Python. It sees the libraries that this one has, so that none is downloaded, but not the
    product that is installed here from the checkout."""
    venv.create(directory, symlinks=True)
    (site,) = directory.glob("lib/python*/site-packages")
    libraries = Path(sysconfig.get_path("purelib"))
    for entry in libraries.iterdir():
        if "pointsman" not in entry.name and "_pip" not in entry.name and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    return directory / "bin" / "python"
