"""leash: become a command that ends when the process above it does.

    python -I -S leash.py --parent PID --signal N [--uid N --gid N [--keep-access]] -- COMMAND ARGUMENT…

A program of its own, run as a file, so that it imports nothing of the product and starts in a few milliseconds. It
changes to another user if told so, asks the kernel for a signal at the parent's death, and becomes the command.

The order matters. The kernel forgets the request when a process changes its user, so privileges go first; and the
parent may have died before the request was made, so its pid is compared afterwards:
 1. the parent forks us and is killed;
 2. we ask for a signal at the death of our parent, who by now is init;
 3. no signal ever comes. getppid() is not PID, so we end here.
"""

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: Sequence[str]) -> int:
    """Never returns but for a failure: 1 when the parent is gone, 127 when the command cannot be run."""
    options = _parse(arguments)
    libc = ctypes.CDLL(None, use_errno=True)
    if options.uid is not None:
        _change_user(libc, options.uid, options.gid, options.keep_access)
    _prctl(libc, PR_SET_PDEATHSIG, options.signal)
    if os.getppid() != options.parent:
        return 1
    try:
        os.execvp(options.command[0], options.command)  # noqa: S606  becoming the command is the purpose
    except OSError as error:
        print(f"leash: cannot run {options.command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 127


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="leash")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--keep-access", action="store_true", help="reach files as the present user can")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def _change_user(libc: ctypes.CDLL, uid: int, gid: int, is_access_kept: bool) -> None:
    if is_access_kept:
        _prctl(libc, PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if is_access_kept:
        _keep_one_capability(libc, CAP_DAC_OVERRIDE)


def _keep_one_capability(libc: ctypes.CDLL, capability: int) -> None:
    """Hold `capability` and no other, through execve too (it must be inheritable to be made ambient)."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset failed")
    _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(ctypes.c_int(option), *padded) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}) failed: {os.strerror(code)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
