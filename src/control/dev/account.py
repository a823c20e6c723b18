"""The account that PostgreSQL runs under: it refuses to run as root, so root gives it another one.

Nothing of the machine is changed for that: no user is added, no mode of a directory above ours is touched. Where the
account could not reach our files (a checkout under /root, say) it keeps the one capability that opens them.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control.errors import Error

# Debian's PostgreSQL account where it is, else the one that every machine has.
_NAMES: Final = ("postgres", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user to become, and whether it must keep root's access to files."""

    uid: int
    gid: int
    is_access_kept: bool = False


def choose(directory: Path, binary: Path) -> Account | None:
    """The account for a server with its data in `directory`; None when we are not root and need none."""
    if os.geteuid() != 0:
        return None
    entry = _owner(directory) or _first_known()
    is_access_kept = not all(_is_open(path) for path in (directory, binary))
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, is_access_kept=is_access_kept)


def _owner(directory: Path) -> pwd.struct_passwd | None:
    """The owner of data that is already there: it must go on with them."""
    if not directory.exists() or directory.stat().st_uid == 0:
        return None
    try:
        return pwd.getpwuid(directory.stat().st_uid)
    except KeyError as error:
        raise Error("stack_failed", f"{directory} belongs to a user this machine does not know; chown it") from error


def _first_known() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _NAMES:
        if name in known:
            return known[name]
    raise Error("stack_failed", "PostgreSQL cannot run as root, and there is no user nobody; run this as another user")


def _is_open(path: Path) -> bool:
    """Whether everybody may pass through the directories above `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents if parent.exists())
