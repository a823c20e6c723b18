"""The state directory: its lock and what is remembered in it."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from control.dev.state import SHARDS, State, claim
from control.errors import Error


def _quiet(_: str) -> None:
    raise AssertionError("there is nothing to announce")


def _state(directory: Path) -> State:
    return claim(directory, _quiet)


def test_the_state_directory_is_private(tmp_path: Path) -> None:
    """Other users do not get into it, and its secrets are its owner's alone."""
    state = _state(tmp_path / "state")
    state.remember(state.recall())
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((state.directory / "stack.json").stat().st_mode) == 0o600


def test_one_process_at_a_time_has_it(tmp_path: Path) -> None:
    """Who comes second is told who is there; when that one has ended, the directory is free."""
    holder = subprocess.Popen(
        (sys.executable, "-c", f"from control.dev.state import *; claim(Path({str(tmp_path)!r}), print); input()"),
        stdin=subprocess.PIPE,
    )
    while not (tmp_path / "lock").exists() or not (tmp_path / "lock").read_text():
        assert holder.poll() is None
    with pytest.raises(Error, match=f"process {holder.pid}"):
        claim(tmp_path, _quiet)
    holder.communicate(b"\n")
    claim(tmp_path, _quiet)


def test_the_servers_of_a_killed_launcher_are_waited_for(tmp_path: Path) -> None:
    """The lock is the children's too: it is free when the last of them has ended."""
    script = f"""
import os, signal, subprocess, sys
from pathlib import Path
from control.dev.state import claim
lock = claim(Path({str(tmp_path)!r}), print).lock
child = subprocess.Popen(["/bin/cat"], stdin=0, pass_fds=[lock], stdout=subprocess.DEVNULL)
print("started", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    launcher = subprocess.Popen((sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    assert launcher.stdin is not None
    assert launcher.stdout.readline() == b"started\n"
    launcher.wait()
    announced: list[str] = []

    def announce(text: str) -> None:
        announced.append(text)
        launcher.stdin.close()  # type: ignore[union-attr]  # the child ends: it has waited for this

    claim(tmp_path, announce)
    assert announced == ["waiting for the servers of a launcher that was killed to end"]


def test_ports_and_secrets_are_remembered(tmp_path: Path) -> None:
    """The next start has the same ports, passwords and key."""
    state = _state(tmp_path)
    stack = state.recall().with_key("pm_key")
    state.remember(stack)
    assert state.recall() == stack
    assert set(stack.ports) == {"postgres", *SHARDS}


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """Only that one changes."""
    state = _state(tmp_path)
    stack = state.recall()
    state.remember(stack)
    with socket.create_server(("127.0.0.1", stack.ports["shard-1"])):
        following = state.recall()
    assert {name for name in stack.ports if stack.ports[name] != following.ports[name]} == {"shard-1"}
