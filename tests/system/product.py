"""The product under test: `pointsman dev` in a directory of its own, on free ports, with two edge workers."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from control.dev.ports import free_ports

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
REQUEST_TIMEOUT_S = 10
POLL_INTERVAL_S = 0.02
LAUNCHER = (sys.executable, "-m", "control", "dev")


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def location(self) -> str | None:
        """Where a redirect leads."""
        return self.headers.get("location")


class Product:
    """A launcher and what it started; `dev` is the content of dev.json."""

    def __init__(self, directory: Path, **variables: str) -> None:
        control, edge, admin = free_ports(3)
        self.directory = directory
        self.environ = {
            **os.environ,
            "POINTSMAN_DATA": str(directory),
            "POINTSMAN_CONTROL_PORT": str(control),
            "POINTSMAN_EDGE_PORT": str(edge),
            "POINTSMAN_EDGE_ADMIN_PORT": str(admin),
            "POINTSMAN_EDGE_WORKERS": "2",
            **variables,
        }
        self.dev: dict[str, Any] = {}
        self.process: subprocess.Popen[str]

    def launch(self, command: tuple[str, ...] = LAUNCHER) -> subprocess.Popen[str]:
        """Start a launcher and wait for nothing."""
        return subprocess.Popen(
            command,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self, command: tuple[str, ...] = LAUNCHER) -> "Product":
        """Start it and wait until it says that it is ready."""
        (self.directory / "dev.json").unlink(missing_ok=True)  # a launcher that was killed has left it
        self.process = self.launch(command)
        until(self._is_ready, START_TIMEOUT_S)
        return self

    def stop(self) -> str:
        """Stop it as an operator does; what it printed in its life."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=STOP_TIMEOUT_S)[0]

    def close(self) -> None:
        """End it in whatever state it is, and wait for all that it started."""
        handles = [os.pidfd_open(pid) for pid in self.processes() if is_alive(pid)]
        if self.process.poll() is None:
            self.stop()
        for handle in handles:
            until_ended(handle)

    def processes(self) -> list[int]:
        """The pids of everything that runs for this product: the launcher's children and theirs."""
        return descendants(self.process.pid)

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name: dev.json is written anew when one was started again."""
        pids: dict[str, int] = json.loads((self.directory / "dev.json").read_text())["pids"]
        return pids

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Call the API with the key."""
        head = {"Authorization": f"Bearer {self.dev['api_key']}", "Content-Type": "application/json", **(headers or {})}
        return request(self.dev["control_url"], method, path, None if body is None else json.dumps(body), head)

    def create(self, target: str, **more: Any) -> Any:
        """A new link."""
        answer = self.call("POST", "/api/v1/links", {"target": target, **more})
        assert answer.status == 201, answer.body
        return answer.json

    def follow(self, code: str) -> Answer:
        """What the edge answers on a new connection, so by any of its workers."""
        return request(self.dev["edge_url"], "GET", f"/{code}")

    def follow_often(self, code: str) -> set[tuple[int, str | None]]:
        """What the edge's workers answer: with 16 connections a worker is left out once in thousands of runs."""
        return {(answer.status, answer.location) for answer in (self.follow(code) for _ in range(16))}

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"pointsman dev ended:\n{self.process.communicate()[0]}")
        if not (self.directory / "dev.json").exists():
            return False
        self.dev = json.loads((self.directory / "dev.json").read_text())
        return True


def request(
    base: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Ask again until it is so; fails when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s} s: {condition}"
        select.select([], [], [], POLL_INTERVAL_S)


def until_ended(handle: int, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Wait for the end of a process by its pidfd, and close that."""
    ended, _, _ = select.select([handle], [], [], timeout_s)
    os.close(handle)
    assert ended, f"a process still runs after {timeout_s} s"


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return below + [each for child in below for each in descendants(child)]
