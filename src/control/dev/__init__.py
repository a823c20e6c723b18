"""`pointsman dev`: the whole product on one machine, from one command, for development and for a first look.

Owns the state directory (`.pointsman`, see state.py) and every process in it. Read launcher.py first.

    pointsman dev ─┬─ postgres          each through leash.py: changes to another user where it must, and asks the
                   ├─ shard-0, 1, 2     kernel to be told when the launcher dies
                   ├─ control
                   └─ edge ── workers

Invariants:
- dev.json is there exactly while everything has become ready and nothing was given up;
- one launcher at a time in a state directory; another one touches nothing;
- no process outlives the launcher for long, whatever ends it;
- data are kept over restarts, whatever ended the last run.
"""

from control.dev.launcher import run

__all__ = ["run"]
