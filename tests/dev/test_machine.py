"""What the dev stack asks of the machine: ports, accounts, binaries, logs, settings, what a build needs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from control.dev import account, logs
from control.dev.config import load
from control.dev.ports import free_ports, is_free
from control.dev.postgres import find_binaries
from control.errors import Error

ROOT = Path(__file__).parent.parent.parent
CHECK = ROOT / "deploy" / "check-machine"


def test_free_ports_are_free_and_different() -> None:
    """And none is one that the kernel gives to outgoing connections."""
    ports = free_ports(20)
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 20
    assert all(is_free(port) and port < lowest for port in ports)
    assert free_ports(0) == []


def test_a_port_with_a_listener_is_not_free() -> None:
    """Even if the listener would share it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs an account")
def test_access_is_kept_only_where_it_is_needed(tmp_path: Path) -> None:
    """Behind a directory that is closed to others the account keeps root's access to files."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    chosen = account.choose(closed / "data", Path("/bin/true"))
    assert chosen is not None
    assert chosen.uid != 0
    assert chosen.is_access_kept
    reachable = account.choose(Path("/tmp/data"), Path("/bin/true"))
    assert reachable is not None
    assert not reachable.is_access_kept


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs an account")
def test_data_stay_with_their_owner(tmp_path: Path) -> None:
    """A cluster that is there is run by the user that it belongs to."""
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    chosen = account.choose(data, Path("/bin/true"))
    assert chosen is not None
    assert chosen.uid == 65534


def test_data_of_another_postgresql_are_refused() -> None:
    """A cluster of a version that is not there is named, with what is there."""
    with pytest.raises(Error, match="PostgreSQL 9; found: "):
        find_binaries("9")


def test_a_long_log_is_cut_while_it_is_written(tmp_path: Path) -> None:
    """The writer goes on at the new end; what was written is kept beside."""
    log = tmp_path / "program.log"
    with log.open("a") as writer:
        writer.write("x" * 1000)
        writer.flush()
        logs.rotate_all(tmp_path, bytes_max=999)
        writer.write("after")
    assert log.read_text() == "after"
    assert (tmp_path / "program.log.1").read_text() == "x" * 1000


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"POINTSMAN_EDGE_PORT": "none"}, "POINTSMAN_EDGE_PORT"),
        ({"POINTSMAN_EDGE_WORKERS": "0"}, "POINTSMAN_EDGE_WORKERS"),
        ({"POINTSMAN_CONTROL_PORT": "70000"}, "POINTSMAN_CONTROL_PORT"),
        ({"POINTSMAN_CONTROL_PORT": "8080"}, "three different ports"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(environ: dict[str, str], message: str) -> None:
    """The message has the variable."""
    with pytest.raises(Error, match=message):
        load(environ)


def test_the_machine_check_passes_here() -> None:
    """What runs the tests can build."""
    subprocess.run((CHECK, sys.executable), check=True)


def test_the_machine_check_names_what_is_missing(tmp_path: Path) -> None:
    """An empty machine is told all that it lacks and one command that installs it."""
    result = subprocess.run(
        ("/bin/sh", CHECK), check=False, capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )
    assert result.returncode == 1
    assert "make, a C compiler, Python 3.11 or newer" in result.stderr
    assert "apt-get install --yes make gcc libc6-dev python3 python3-dev python3-venv" in result.stderr


def test_the_machine_check_refuses_an_old_python(tmp_path: Path) -> None:
    """Its version and the one that is needed are named."""
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run((CHECK, old), check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Python 3.9.2 is too old" in result.stderr
