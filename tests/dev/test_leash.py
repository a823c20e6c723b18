"""leash.py: programs that end with what started them, as the user that they must be."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from control.dev import leash
from control.dev.account import Account
from control.dev.program import leashed

PROMPT_S = 20
NOBODY = 65534
CAP_DAC_OVERRIDE = 1 << leash.CAP_DAC_OVERRIDE

# A parent that starts a program on the leash, says its pid, and waits to be killed.
PARENT = """
import subprocess, sys
from control.dev.program import leashed
program = "import signal, sys; print('up', flush=True); signal.pause()"
child = subprocess.Popen(leashed([sys.executable, "-c", program]), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_program_ends_when_its_parent_is_killed() -> None:
    """SIGKILL of the parent ends the program."""
    parent = subprocess.Popen((sys.executable, "-c", PARENT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    handle = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert select.select([handle], [], [], PROMPT_S)[0] == [handle]
    os.close(handle)


def test_a_program_whose_parent_is_gone_is_not_run() -> None:
    """A leash that finds another parent than the one it was started by ends."""
    command = leashed(["/bin/echo", "run"])
    command[command.index(f"--parent={os.getpid()}")] = "--parent=1"
    result = subprocess.run(command, check=False, capture_output=True)
    assert (result.returncode, result.stdout) == (1, b"")


def test_a_program_that_is_not_there_is_named() -> None:
    """A command that cannot be run is an exit code and a message."""
    result = subprocess.run(leashed(["/no/such/program"]), check=False, capture_output=True, text=True)
    assert result.returncode == 127
    assert "/no/such/program" in result.stderr


def test_the_exit_code_is_the_programs() -> None:
    """The leash is not between the program and who waits for it."""
    assert subprocess.run(leashed(["/bin/sh", "-c", "exit 7"]), check=False).returncode == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("is_access_kept", [False, True])
def test_another_user_has_no_more_rights_than_it_must(is_access_kept: bool) -> None:
    """The program runs as the account, without groups, with no capability or the one that opens files."""
    account = Account(uid=NOBODY, gid=NOBODY, is_access_kept=is_access_kept)
    command = leashed(["/bin/cat", "/proc/self/status"], account)
    status = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    assert fields["Uid"] == [str(NOBODY)] * 4
    assert fields["Gid"] == [str(NOBODY)] * 4
    assert fields["Groups"] == []
    assert int(fields["CapEff"][0], 16) == (CAP_DAC_OVERRIDE if is_access_kept else 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_another_user_is_on_the_leash_too(tmp_path: Path) -> None:
    """The change of user comes first: the kernel forgets a leash that was put on before it."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(PARENT)
        .replace("from control.dev.program", "from control.dev.account import Account\nfrom control.dev.program")
        .replace('program])', f'program], Account(uid={NOBODY}, gid={NOBODY}, is_access_kept=True))')
    )  # fmt: skip
    parent = subprocess.Popen((sys.executable, script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    handle = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert select.select([handle], [], [], PROMPT_S)[0] == [handle]
    os.close(handle)
