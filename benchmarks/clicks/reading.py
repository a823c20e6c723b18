"""How long the API takes for statistics."""

import http.client
import random
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from benchmarks import BenchmarkError
from benchmarks.scale.stack import Stack

SEED: Final = 2


def latencies_ms(stack: Stack, links: int, requests: int, span: tuple[str, str]) -> dict[str, dict[str, float]]:
    """p50, p99 and the longest of so many requests one after the other, by what is asked for; `span` is two dates."""
    choose = random.Random(SEED)
    weights = [1 / rank for rank in range(1, links + 1)]
    clicked = choose.choices(range(1, links + 1), weights, k=requests)
    query = f"?from={span[0]}&to={span[1]}"
    paths = {
        "a link, as often as it is clicked": [f"links/c{link_id}/clicks{query}" for link_id in clicked],
        "a link, any": [f"links/c{choose.randint(1, links)}/clicks{query}" for _ in range(requests)],
        "the most clicked link": [f"links/c1/clicks{query}"] * requests,
        "the account": [f"clicks{query}"] * requests,
        "the most clicked links": [f"top{query}"] * requests,
    }
    return {name: _quantiles(_ask(stack, some)) for name, some in paths.items()}


def _ask(stack: Stack, paths: Sequence[str]) -> list[float]:
    connection = http.client.HTTPConnection(urlsplit(stack.control_url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    taken_ms = []
    try:
        for path in paths:
            started = time.perf_counter()
            connection.request("GET", f"/api/v1/{path}", headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            taken_ms.append((time.perf_counter() - started) * 1000)
            if answer.status != 200:
                raise BenchmarkError(f"{path} was answered {answer.status}: {content[:500]!r}")
    finally:
        connection.close()
    return taken_ms


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[len(ordered) * 99 // 100], "max": ordered[-1]}
