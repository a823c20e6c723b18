"""A program that works beside a measurement: it prints `ready`, works until it is told to stop, then prints one line of
JSON."""

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from typing import IO, Any, Final

from benchmarks import BenchmarkError
from benchmarks.processes import LEASH

READY_S: Final = 30
STOP_S: Final = 30  # more than the load generator itself waits for late answers
# An attacker gets what nobody else wants of the core that he shares.
UNIMPORTANT: Final = ("chrt", "--idle", "0")


class Companion:
    """A program at work."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def wait_until_ready(self) -> None:
        """Until it says so; raises BenchmarkError if it does not."""
        output = self._output()
        is_ready = select.select([output], [], [], READY_S)[0] and output.readline() == b"ready\n"
        if not is_ready:
            raise BenchmarkError(f"{self._process.args!r} did not get ready: {self._failure()}")

    def stop(self) -> dict[str, Any]:
        """Tell it to stop; what it reports."""
        self._process.terminate()
        return self.report(0)

    def report(self, seconds: float) -> dict[str, Any]:
        """What it reports when it stops by itself, after about so many seconds."""
        try:
            output, _ = self._process.communicate(timeout=seconds + STOP_S)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{self._process.args!r} did not end") from error
        if self._process.returncode != 0 or not output:
            raise BenchmarkError(
                f"{self._process.args!r} ended with code {self._process.returncode}: {self._failure()}"
            )
        counted: dict[str, Any] = json.loads(output.splitlines()[-1])
        return counted

    def is_at_work(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _failure(self) -> str:
        self._process.kill()
        with contextlib.suppress(ValueError):  # its pipes were read to their end
            return self._process.communicate()[1].decode(errors="replace")
        return "without a word"


@contextlib.contextmanager
def accompanied(command: list[str], *, is_unimportant: bool = False) -> Iterator[Companion]:
    """The program, ready, until the block ends."""
    words = [*LEASH, *(UNIMPORTANT if is_unimportant else ()), *command]
    # Unbuffered: `ready` must be read without the report that may stand behind it.
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        companion = Companion(process)
        try:
            companion.wait_until_ready()
            yield companion
        finally:
            process.kill()
