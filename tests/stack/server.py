"""A server under test: start it, and do to it what happens in production."""

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

from control.dev.program import POLL_INTERVAL_S, READY_TIMEOUT_S, Program, describe_exit, failure, spawn
from control.errors import Error

STOP_TIMEOUT_S = 20


class Server:
    """One program; stopped or killed, it can be started again on the same port with the data it has."""

    def __init__(self, program: Program, port: int, directory: Path) -> None:
        self.program = program
        self.port = port
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None, f"{self.program.name} is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed."""
        return self._process is not None

    def start(self) -> None:
        """Start and wait until it takes work."""
        assert self._process is None, f"{self.program.name} is running"
        self._process = spawn(self.program)
        try:
            _wait_ready(self.program, self._process)
        except Error:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None
            raise

    def stop(self) -> None:
        """Ask it to stop and wait until it is gone."""
        assert self._process is not None, f"{self.program.name} is not running"
        self._process.send_signal(self.program.stop_signal)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """SIGKILL it and its children, as a crash of the machine would, and wait until they are gone."""
        assert self._process is not None, f"{self.program.name} is not running"
        # Children first stopped, so that none is born while they are counted.
        self._process.send_signal(signal.SIGSTOP)
        handles = [os.pidfd_open(pid) for pid in children(self._process.pid)]
        self._process.kill()
        for handle in handles:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], STOP_TIMEOUT_S)
            os.close(handle)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def pause(self) -> None:
        """Stop its clock: the sockets stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)
        os.waitid(os.P_PID, self.pid, os.WCONTINUED)

    def close(self) -> None:
        """End it in whatever state it is."""
        if self._process is not None:
            self.kill()


class RedisServer(Server):
    """A shard."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_disk(self) -> None:
        """While it is not running: forget all that it would come back with."""
        assert self._process is None, f"{self.program.name} is running"
        shutil.rmtree(self.directory)
        self.directory.mkdir()


class PostgresServer(Server):
    """A cluster; `dsn` names its database `postgres`."""

    def __init__(self, program: Program, port: int, directory: Path, dsn: str) -> None:
        super().__init__(program, port, directory)
        self.dsn = dsn

    def dsn_of(self, database: str) -> str:
        """The same server, another database."""
        return self.dsn.removesuffix("postgres") + database


def _wait_ready(program: Program, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not program.is_ready():
        try:
            code = process.wait(POLL_INTERVAL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise failure(program, f"is not ready after {READY_TIMEOUT_S:.0f} s") from None
        else:
            raise failure(program, f"ended with {describe_exit(code)}")


def children(pid: int) -> list[int]:
    """The pids of the direct children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
