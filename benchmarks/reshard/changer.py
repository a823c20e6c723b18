"""python -m benchmarks.reshard.changer: changes links at a constant rate, and says what each of them may be.

Prints `ready`, then on SIGTERM one line of JSON. A change that control has not answered (it may have been killed) is
asked for again until it is answered, so that no two changes of a link are ever under way.
"""

import argparse
import http.client
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.reshard.population import Population, Truth, is_absent

THREADS: Final = 24
RETRY_S: Final = 0.1
REQUEST_S: Final = 40
SEED: Final = 11


class Changer:
    """Threads that change links; `counts` and `waits_ms` are what came of it."""

    def __init__(self, url: str, key: str, population: Population, rate: float) -> None:
        self.counts: Counter[str] = Counter()
        self.waits_ms: list[float] = []
        self._netloc = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._links = population.read_links()
        self._order = population.read_order()
        self._truth = Truth(population)
        self._period_s = 1 / rate
        self._random = random.Random(f"{SEED} {time.time_ns()}")
        self._lock = threading.Lock()
        self._busy: set[int] = set()
        self._next_s = time.monotonic()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Change links until `stop`."""
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self, *_: object) -> None:
        """Finish what is under way, and end."""
        self._stopped.set()

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._netloc, timeout=REQUEST_S)
        while (number := self._next()) is not None:
            self._change(connection, number)
            with self._lock:
                self._busy.remove(number)
        connection.close()

    def _next(self) -> int | None:
        """The link to change next, when its time has come; None at the end."""
        with self._lock:
            due_s, self._next_s = self._next_s, self._next_s + self._period_s
        if self._stopped.wait(max(0.0, due_s - time.monotonic())):
            return None
        with self._lock:
            # Changes that could not be made while control was away are left out, not made up for.
            self._next_s = max(self._next_s, time.monotonic() - 1)
            while (number := self._random.choice(self._order)) in self._busy:
                pass
            self._busy.add(number)
        return number

    def _change(self, connection: http.client.HTTPConnection, number: int) -> None:
        started_s = time.monotonic()
        version = self._truth.begin(number)
        is_repeated = False
        while (answer := self._ask(connection, number, version)) is None or answer[0] >= 500:
            is_repeated = True
            self._count("repeated" if answer is None else f"repeated after {answer[0]}")
            if self._stopped.wait(RETRY_S):
                return
        status, body = answer
        self._count("changes")
        if is_repeated and status in (404, 409):  # what was not answered had been done
            self._count("done without an answer")
        elif status not in (200, 201):
            self._count(f"status {status}")
        elif body["edges"]["is_complete"]:
            self._truth.confirm(number, version)
            self._count("confirmed")
            if not is_repeated:
                self.waits_ms.append((time.monotonic() - started_s) * 1000)
        else:
            self._count("late")

    def _ask(self, connection: http.client.HTTPConnection, number: int, version: int) -> tuple[int, Any] | None:
        code, target = self._links[number]
        try:
            if is_absent(number, version):
                connection.request("DELETE", f"/api/v1/links/{code}?wait=edges", headers=self._headers)
            elif version and is_absent(number, version - 1):
                body = json.dumps({"code": code, "target": f"{target}{version}"})
                connection.request("POST", "/api/v1/links?wait=edges", body, self._headers)
            else:
                body = json.dumps({"target": f"{target}{version}"})
                connection.request("PATCH", f"/api/v1/links/{code}?wait=edges", body, self._headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException):
            connection.close()
            return None

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


def main() -> int:
    """Change links until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reshard.changer")
    parser.add_argument("product", type=Path, help="the product's dev.json")
    parser.add_argument("population", type=Path, help="the directory of the links")
    parser.add_argument("rate", type=float, help="changes a second")
    arguments = parser.parse_args()
    dev = json.loads(arguments.product.read_text(encoding="utf-8"))
    changer = Changer(dev["control_url"], dev["api_key"], Population(arguments.population), arguments.rate)
    signal.signal(signal.SIGTERM, changer.stop)
    print("ready", flush=True)
    started_s = time.monotonic()
    changer.run()
    waits = sorted(changer.waits_ms) or [0.0]
    report = {
        "seconds": time.monotonic() - started_s,
        "counts": changer.counts,
        "wait_p50_ms": waits[len(waits) // 2],
        "wait_p99_ms": waits[int(len(waits) * 0.99)],
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
