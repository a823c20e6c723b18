"""One attack on one server."""

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import BenchmarkError
from benchmarks.attack.attacks import Attack, Scene
from benchmarks.companion import accompanied
from benchmarks.load import generator
from benchmarks.macro.measure import metered, warm_up
from benchmarks.macro.rivals import RIVALS
from benchmarks.macro.serving import Ground, serving

RATE: Final = 2_000
# New connections are what attacks on the accept queue hit first, so ordinary traffic makes some.
PER_CONNECTION: Final = 50
PEOPLE: Final = generator.Clients("127.0.1.1", 32)
WARM: Final = 5_000  # links that ordinary traffic asks for
COLD: Final = 64  # links that only the herd asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Ordinary traffic before and during the attack; what the attack says it did."""

    before_us: dict[str, float]
    during_us: dict[str, float]
    asked: int
    errors: dict[str, int]
    server_share: float  # of its core, during the attack
    redis_hits: int  # that found a key, during the attack
    done: dict[str, Any]


def measure(attack: Attack, ground: Ground, is_short: bool) -> dict[str, Any]:
    """Let the attack happen; raises BenchmarkError if it did not, or if the server ended."""
    warm = replace(ground, links=ground.links[:WARM])
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        with serving(RIVALS["edge"], warm, directory) as server:
            warm_up(server, warm, directory)
            scene = Scene(server, ground, directory, ground.links[-COLD:], is_short)
            return asdict(_measure(attack, scene))


def _measure(attack: Attack, scene: Scene) -> Measurement:
    before = _ordinary(scene).check()
    with accompanied(attack.command(scene), is_unimportant=True) as attacker:
        during, used = metered(scene.server, scene.ground, lambda: _ordinary(scene))
        if not attacker.is_at_work():
            raise BenchmarkError(f"the attack {attack.name} ended before the measurement did")
        done = attacker.stop()
    if not any(count for count in done.values() if isinstance(count, int)):
        raise BenchmarkError(f"the attack {attack.name} did nothing")
    return Measurement(
        before_us=before.latency_us,
        during_us=during.latency_us,
        asked=during.asked,
        errors={kind: count for kind, count in during.errors.items() if count},
        server_share=used.server_us / (during.seconds * 1e6),
        redis_hits=used.hits,
        done=done,
    )


def _ordinary(scene: Scene) -> generator.Report:
    orders = generator.Orders(
        links=scene.directory / "links",
        seconds=scene.ground.seconds,
        rate=RATE,
        per_connection=PER_CONNECTION,
        clients=PEOPLE,
    )
    with generator.loading(orders, scene.server.port, scene.ground.cores.load) as run:
        return run.report()
