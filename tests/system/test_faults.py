"""The product while parts of it are away."""

import os
import signal

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.stack.server import children
from tests.system.product import Product, request, until

PROMPT_S = 20
LINKS = 60


def _create_many(product: Product, name: str) -> dict[str, tuple[int, str]]:
    """Links spread over the shards: code -> what the edge must answer."""
    targets = {f"{name}-{number}": f"https://example.com/{name}/{number}" for number in range(LINKS)}
    for code, target in targets.items():
        product.create(target, code=code)
    return {code: (302, target) for code, target in targets.items()}


def _answers(product: Product, codes: list[str]) -> dict[str, tuple[int, str | None]]:
    return {code: (answer.status, answer.location) for code, answer in ((c, product.follow(c)) for c in codes)}


def _metric(product: Product, name: str) -> float:
    text = request(product.dev["edge_admin_url"], "GET", "/metrics").body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_a_killed_shard_makes_no_link_unknown(product: Product) -> None:
    """Links of a shard that is killed are answered from memory or PostgreSQL, never 404; then it is used again (I5)."""
    expected = _create_many(product, "killed")
    cached, uncached = list(expected)[: LINKS // 2], list(expected)[LINKS // 2 :]
    until(lambda: _answers(product, cached) == {code: expected[code] for code in cached}, PROMPT_S)
    os.kill(product.dev["pids"]["shard-1"], signal.SIGKILL)
    assert _answers(product, cached + uncached) == expected
    assert product.follow("never-created").status == 404
    until(lambda: _is_trusted_again(product), PROMPT_S)
    lookups = _metric(product, "pointsman_edge_origin_lookups_total")
    created = _create_many(product, "revived")
    until(lambda: _answers(product, list(created)) == created, PROMPT_S)
    until(lambda: _answers(product, list(expected)) == expected, PROMPT_S)
    assert _metric(product, "pointsman_edge_origin_lookups_total") == lookups


def _is_trusted_again(product: Product) -> bool:
    """Each worker trusts the three shards, the fences of all name the processes that run, and dev.json the pids."""
    is_known = product.pids()["shard-1"] != product.dev["pids"]["shard-1"]
    shards = [Redis.from_url(shard["url"]) for shard in product.dev["shards"]]
    try:
        is_fenced = all(shard.info("server")["run_id"].encode() in (shard.get("pm:fence") or b"") for shard in shards)
    except RedisConnectionError:
        return False
    return is_known and is_fenced and _metric(product, "pointsman_edge_shards_trusted") == 6


@pytest.mark.parametrize("name", ["control", "edge", "postgres"])
def test_a_killed_process_comes_back(product: Product, name: str) -> None:
    """After SIGKILL of one process links are created and followed again, without a hand being lent."""
    link = product.create("https://example.com/before")
    os.kill(product.pids()[name], signal.SIGKILL)
    until(lambda: _works(product), PROMPT_S)
    until(lambda: product.follow_often(link["code"]) == {(302, "https://example.com/before")}, PROMPT_S)


def _works(product: Product) -> bool:
    """Whether a new link can be made and is redirected by every worker."""
    try:
        answer = product.call("POST", "/api/v1/links", {"target": "https://example.com/"})
        return answer.status == 201 and product.follow_often(answer.json["code"]) == {(302, "https://example.com/")}
    except OSError:
        return False


def test_links_redirect_while_postgres_is_away(product: Product) -> None:
    """Without PostgreSQL what is in Redis goes on, and a change is refused with a problem that says why (I1)."""
    expected = _create_many(product, "away")
    until(lambda: _answers(product, list(expected)) == expected, PROMPT_S)
    _stop_postgres(product)
    try:
        fresh = dict(list(expected.items())[: LINKS // 2])
        assert _answers(product, list(fresh)) == fresh
        answer = product.call("POST", "/api/v1/links", {"target": "https://example.com/"})
        assert answer.status == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["code"] == "database_unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert _answers(product, list(expected)) == expected
    finally:
        os.kill(product.pids()["postgres"], signal.SIGCONT)
    until(lambda: product.call("POST", "/api/v1/links", {"target": "https://example.com/"}).status == 201, PROMPT_S)


def _stop_postgres(product: Product) -> None:
    """Cut all its connections and let it take no new one. (Were it ended, it would be started again at once.)"""
    server = product.pids()["postgres"]
    os.kill(server, signal.SIGSTOP)
    for backend in children(server):
        os.kill(backend, signal.SIGKILL)
