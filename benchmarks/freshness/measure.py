"""Changes that wait for all edges, one after the other; after each, every worker is asked over new connections."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks import BenchmarkError
from benchmarks.scale.stack import Stack

WORKERS: Final = 4
# Connections are spread by the kernel: with so many a worker is left out once in three hundred times.
READS: Final = 24
_LOCATION: Final = "https://www.example.com/freshness/{}"


@dataclass(frozen=True, slots=True)
class Waits:
    """What one kind of request took, in milliseconds, in order; `stale` are answers that did not show the change."""

    title: str
    ms: list[float]
    reads: int
    stale: int

    def at(self, share: float) -> float:
        """The duration that this share of all stayed below."""
        return self.ms[min(len(self.ms) - 1, int(len(self.ms) * share))]


def measure(stack: Stack, count: int) -> list[Waits]:
    """New links and changed ones, with and without waiting for the edges."""
    connection = http.client.HTTPConnection(urlsplit(stack.control_url).netloc, timeout=30)
    client = _Client(stack, connection)
    try:
        for number in range(count // 10):
            client.create("?wait=edges", number)  # connections are opened, statements prepared
        created = [client.create("?wait=edges", number) for number in range(count)]
        codes = [code for code, _, _ in created]
        changed = [client.change("?wait=edges", code, number) for number, code in enumerate(codes, start=count)]
        plain = [client.create("", number) for number in range(count)]
    finally:
        connection.close()
    return [
        _waits("POST, which waits for all edges", created, READS),
        _waits("PATCH of a link that is in all caches, which waits", changed, READS),
        _waits("POST, which does not wait", plain, 0),
    ]


class _Client:
    def __init__(self, stack: Stack, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._edge = f"127.0.0.1:{stack.edge_port}"
        self._headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/json"}

    def create(self, query: str, number: int) -> tuple[str, float, int]:
        """A new link: its code, the milliseconds, and how many answers did not show it."""
        target = _LOCATION.format(number)
        body, ms = self._ask("POST", f"/api/v1/links{query}", target, 201)
        return body["code"], ms, self._stale(body["code"], target) if query else 0

    def change(self, query: str, code: str, number: int) -> tuple[str, float, int]:
        """The same of a link that leads elsewhere from now on."""
        target = _LOCATION.format(number)
        _, ms = self._ask("PATCH", f"/api/v1/links/{code}{query}", target, 200)
        return code, ms, self._stale(code, target)

    def _ask(self, method: str, path: str, target: str, status: int) -> tuple[Any, float]:
        started = time.perf_counter()
        self._connection.request(method, path, json.dumps({"target": target}), self._headers)
        response = self._connection.getresponse()
        body = json.loads(response.read())
        ms = (time.perf_counter() - started) * 1000
        if response.status != status or not body.get("edges", {"is_complete": True})["is_complete"]:
            raise BenchmarkError(f"{method} {path} was answered with {response.status}: {body}")
        return body, ms

    def _stale(self, code: str, target: str) -> int:
        return sum(self._location(code) != target for _ in range(READS))

    def _location(self, code: str) -> str | None:
        connection = http.client.HTTPConnection(self._edge, timeout=10)
        try:
            connection.request("GET", f"/{code}")
            return connection.getresponse().getheader("Location")
        finally:
            connection.close()


def _waits(title: str, answers: list[tuple[str, float, int]], reads: int) -> Waits:
    stale = sum(stale for _, _, stale in answers)
    return Waits(title, sorted(ms for _, ms, _ in answers), reads * len(answers), stale)
