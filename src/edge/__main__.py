"""python -m edge: load the settings, run the supervisor; or, started by it, one worker."""

import argparse
import ctypes
import mmap
import os
import signal
import socket
import sys

import uvloop

from edge.config import ConfigError, EdgeConfig, load
from edge.log import configure
from edge.supervisor import Supervisor, SupervisorError
from edge.worker import Slot, Worker

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run until stopped; the exit code: 0 stopped, 1 could not start, 2 a setting cannot be used."""
    parser = argparse.ArgumentParser(prog="edge", description="The public edge; settings are environment variables.")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--counters", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        config = load(os.environ)
    except ConfigError as error:
        print(f"edge: {error}", file=sys.stderr)  # noqa: T201  the log is not configured yet
        return 2
    if arguments.worker is not None:
        return _run_worker(config, arguments.worker, arguments.listener, arguments.counters)
    configure(config.log_format, config.log_level)
    try:
        uvloop.run(_supervise(config))
    except SupervisorError as error:
        print(f"edge: {error}", file=sys.stderr)  # noqa: T201  one line for the operator, not an event
        return 1
    return 0


async def _supervise(config: EdgeConfig) -> None:
    await Supervisor(config).run()


async def _work(config: EdgeConfig, slot: Slot) -> None:
    await Worker(config, slot).run()


def _run_worker(config: EdgeConfig, number: int, listener: int, counters: int) -> int:
    parent = os.getppid()
    # A supervisor that is killed cannot stop its workers: the kernel tells them.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    configure(config.log_format, config.log_level, worker=number)
    slot = Slot(number, socket.socket(fileno=listener), mmap.mmap(counters, 0))
    uvloop.run(_work(config, slot))
    return 0


if __name__ == "__main__":
    sys.exit(main())
