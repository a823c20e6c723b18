"""The servers that are compared: how each is started.

A rival is a row of RIVALS. Its `command` writes what the server needs into the stage's directory and says what to run;
everything else (pinning, readiness, verification, measuring, stopping) is the same for all and lives outside.
"""

from benchmarks.macro.rivals import edge, floor, granian, nginx
from benchmarks.macro.rivals.rival import Rival, Stage

__all__ = ["RIVALS", "Rival", "Stage"]

RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        floor.FLOOR,
        nginx.LOGGED,
        nginx.UNLOGGED,
        nginx.DEFERRED,
        nginx.LUA_REDIS,
        nginx.WITH_TLS,
        granian.LEAST_RSGI,
        edge.FROM_L1,
        edge.WITHOUT_CLICKS,
        edge.FROM_REDIS,
        edge.WITH_TLS,
        edge.UNDER_GRANIAN,
    )
}
