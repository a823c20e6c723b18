"""python -m edge: load the settings, run the supervisor; or, started by it, one worker."""

import argparse
import asyncio
import ctypes
import os
import resource
import signal
import sys

import uvloop

from edge.assignment import Assignment, take
from edge.config import ConfigError, EdgeConfig, load
from edge.errors import EdgeError
from edge.log import configure, on_loop_error, on_unraisable
from edge.supervisor import Supervisor
from edge.worker import Worker

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run until stopped; the exit code: 0 stopped, 1 could not start, 2 a setting cannot be used."""
    parser = argparse.ArgumentParser(prog="edge", description="The public edge; settings are environment variables.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        config = load(os.environ)
    except ConfigError as error:
        print(f"edge: {error}", file=sys.stderr)  # noqa: T201  the log is not configured yet
        return 2
    if arguments.worker is not None:
        return _run_worker(config, arguments.worker)
    configure(config.log_format, config.log_level)
    _raise_descriptor_limit()
    try:
        uvloop.run(_supervise(config))
    except EdgeError as error:
        print(f"edge: {error}", file=sys.stderr)  # noqa: T201  one line for the operator, not an event
        return 1
    return 0


async def _supervise(config: EdgeConfig) -> None:
    await Supervisor(config).run()


async def _work(config: EdgeConfig, assignment: Assignment) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_error)
    worker = Worker(config, assignment)
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


def _run_worker(config: EdgeConfig, text: str) -> int:
    # Ctrl-C and a closed terminal reach the whole process group; what they mean the supervisor decides.
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    parent = os.getppid()
    # A supervisor that is killed cannot stop its workers: the kernel tells them.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    assignment = take(text)
    configure(config.log_format, config.log_level, worker=assignment.slot)
    sys.unraisablehook = on_unraisable
    uvloop.run(_work(config, assignment))
    return 0


def _raise_descriptor_limit() -> None:
    """Let the edge, and the workers that inherit it, hold as many clients as the system allows, not the usual 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
