"""Every limit on clients is reached: who meets it is told or dropped, it is counted, and others are served."""

import http.client
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge, stalled
from tests.stack.fixtures import RedisFactory

REQUEST = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
TARGET = "https://example.com/"

Start = Callable[..., AbstractContextManager[Edge]]


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard with the links that the tests ask for."""
    shards = Shards([redis_factory()])
    shards.put("abc", TARGET)
    shards.put("big", TARGET + "a" * 8000)
    return shards


@pytest.fixture
def start(shards: Shards, tmp_path: Path) -> Start:
    """Start an edge with one worker and the settings of a test; it has answered `abc` once."""

    @contextmanager
    def running(**settings: Any) -> Iterator[Edge]:
        with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
            assert edge.get("/abc").status == 302
            yield edge

    return running


def connect(edge: Edge, source: str = "127.0.0.1") -> socket.socket:
    """A connection from one of the machine's own addresses."""
    return socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S, source_address=(source, 0))


def read_all(client: socket.socket) -> bytes:
    """Everything until the edge closes; a reset counts as a close."""
    received = b""
    try:
        while block := client.recv(1 << 20):
            received += block
    except ConnectionResetError:
        pass
    return received


def status_of(client: socket.socket) -> int:
    """The status of one more request on the connection."""
    client.sendall(REQUEST)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    answer.read()
    return answer.status


def hits(edge: Edge, limit: str) -> int:
    """How often clients have met a limit."""
    return edge.metric("limits_total", f'{{limit="{limit}"}}')


def test_client_that_sends_nothing_is_closed_without_a_word(start: Start) -> None:
    """Nothing was asked: nothing is answered."""
    with start(first_byte_timeout_ms=100) as edge, connect(edge) as client:
        assert read_all(client) == b""
        assert hits(edge, "first_byte_time") == 1


def test_many_that_send_nothing_are_closed_in_time(start: Start) -> None:
    """One that leaves the roster hides no other from the sweep: not half of them are missed in each of its rounds."""
    with start(first_byte_timeout_ms=1000) as edge, ExitStack() as stack:
        clients = [stack.enter_context(connect(edge)) for _ in range(300)]
        opened = time.monotonic()
        assert [read_all(client) for client in clients] == [b""] * 300
        # A second in the kernel, a second of the limit, a second of the round; rounds that miss half take ten.
        assert time.monotonic() - opened < 6


def test_head_that_does_not_end_is_answered_408(start: Start) -> None:
    """However slowly the bytes come: the time counts from the head's first byte."""
    with start(head_timeout_ms=200) as edge, connect(edge) as client:
        client.sendall(b"GET /abc HTTP/1.1\r\n")
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert hits(edge, "head_time") == 1


def test_head_in_drops_does_not_outlive_its_limit(start: Start) -> None:
    """A byte now and then does not buy more time."""
    with start(head_timeout_ms=200) as edge, connect(edge) as client:
        client.settimeout(0.02)
        received = b""

        def drip() -> bool:
            nonlocal received
            try:
                client.sendall(b"G" if not received else b"")
                block = client.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                return True
            received += block
            return not block

        client.sendall(b"GET /")
        eventually(drip, "the edge has closed the connection")
        assert received.startswith(b"HTTP/1.1 408 ")


def test_idle_connection_is_closed(start: Start) -> None:
    """Between two requests, for as long as the setting says."""
    with start(idle_timeout_ms=100) as edge, connect(edge) as client:
        assert status_of(client) == 302
        assert read_all(client) == b""
        assert hits(edge, "idle_time") == 1


def test_connection_ends_with_its_last_request(start: Start) -> None:
    """The answer says so, and what comes behind it is not answered."""
    with start(connection_requests_max=3) as edge, connect(edge) as client:
        client.sendall(REQUEST * 5)
        answers = read_all(client)
        assert answers.count(b"HTTP/1.1 302 Found\r\n") == 3
        assert answers.count(b"\r\nConnection: close\r\n") == 1
        assert hits(edge, "connection_requests") == 1


def test_pipelined_requests_beyond_a_turn_s_share_wait_for_the_next(start: Start) -> None:
    """All are answered, in order."""
    with start(pipeline_max=4) as edge, connect(edge) as client:
        client.sendall(REQUEST * 50 + REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answers = read_all(client)
        assert answers.count(b"HTTP/1.1 302 Found\r\n") == 51
        assert hits(edge, "pipeline") >= 12


def test_connections_over_the_limit_are_closed_at_once(start: Start, shards: Shards) -> None:
    """Those that wait for an answer get it."""
    shards.put("cold", TARGET)
    settings = {"connections_max": 4, "reply_timeout_ms": 9000, "ping_timeout_ms": 9000}
    with start(**settings) as edge, ExitStack() as stack:
        with stalled(shards.servers[0]):
            clients = [stack.enter_context(connect(edge)) for _ in range(4)]
            for client in clients:
                client.sendall(REQUEST.replace(b"abc", b"cold"))
            eventually(lambda: edge.metric("waiters") == 4, "all places are taken")
            late = stack.enter_context(connect(edge))
            late.sendall(REQUEST)
            assert read_all(late) == b""
        assert [http_status(client) for client in clients] == [302] * 4
        assert hits(edge, "connections") == 1


def test_idle_connections_make_room_while_places_are_scarce(start: Start) -> None:
    """With few places left an idle connection is closed long before its time, and new clients get in."""
    with start(connections_max=8, idle_timeout_ms=60_000, first_byte_timeout_ms=60_000) as edge, ExitStack() as stack:
        for _ in range(8):
            assert status_of(stack.enter_context(connect(edge))) == 302
        eventually(lambda: edge.get("/abc").status == 302 if _is_open(edge) else False, "a new client is served")
        assert hits(edge, "idle_time") >= 1


def _is_open(edge: Edge) -> bool:
    """Whether a new connection is answered."""
    with connect(edge) as client:
        client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return read_all(client).startswith(b"HTTP/1.1 302")


def test_one_client_may_hold_only_so_many_connections(start: Start) -> None:
    """Another address is not concerned; a connection that ends makes room."""
    with start(client_connections_max=2) as edge, ExitStack() as stack:
        clients = [stack.enter_context(connect(edge, "127.0.0.2")) for _ in range(2)]
        assert [status_of(client) for client in clients] == [302, 302]
        assert read_all(stack.enter_context(connect(edge, "127.0.0.2"))) == b""
        assert hits(edge, "client_connections") == 1
        assert status_of(stack.enter_context(connect(edge, "127.0.0.3"))) == 302
        closed = edge.metric("connections_closed_total")
        clients[0].close()
        eventually(lambda: edge.metric("connections_closed_total") > closed, "the end is seen")
        assert status_of(stack.enter_context(connect(edge, "127.0.0.2"))) == 302


def fill(client: socket.socket, requests: int = 9000) -> None:
    """Ask for the big answer as often as the edge takes requests, and read nothing."""
    client.setblocking(False)
    request = REQUEST.replace(b"abc", b"big")
    try:
        for _ in range(requests):
            client.sendall(request)
    except (BlockingIOError, ConnectionError):
        return  # it takes no more, or has dropped this client already


def test_client_that_does_not_read_is_dropped(start: Start) -> None:
    """When nothing of the answers has left for as long as the setting says."""
    with start(unsent_timeout_ms=200) as edge, connect(edge) as client:
        edge.get("/big")
        fill(client)
        eventually(lambda: hits(edge, "unsent_time") == 1, "the client is dropped")
        assert edge.metric("unsent_bytes") == 0


def test_clients_that_do_not_read_hold_bounded_memory_together(start: Start) -> None:
    """The one that would take it over the bound is dropped; others are served."""
    with start(unsent_bytes_max=131_072) as edge, ExitStack() as stack:
        edge.get("/big")
        for _ in range(16):
            fill(stack.enter_context(connect(edge)))
        eventually(lambda: hits(edge, "unsent_bytes") >= 1, "a client is dropped")
        assert edge.metric("unsent_bytes") <= 131_072
        assert edge.get("/abc").status == 302


def test_answer_to_a_body_is_not_lost(start: Start) -> None:
    """1 MB of a body is under way when it is refused: the client still reads the whole answer."""
    with start() as edge, connect(edge) as client:
        head = f"POST /abc HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 900000\r\n\r\n".encode()
        client.sendall(head + b"GET /abc HTTP/1.1\r\n\r\n" + b"x" * 899_000)
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/html; charset=utf-8\r\n")
        assert answer.endswith(b"</html>\n")
        assert answer.count(b"HTTP/1.1 ") == 1


def test_last_answer_is_not_lost_to_a_request_behind_it(start: Start, shards: Shards) -> None:
    """The last request of a connection waits for its look-up; the next one is never read, and resets nothing."""
    shards.put("cold", TARGET)
    settings = {"connection_requests_max": 1, "reply_timeout_ms": 5000, "ping_timeout_ms": 9000}
    with start(**settings) as edge, connect(edge) as client:
        with stalled(shards.servers[0]) as resume:
            client.sendall(REQUEST.replace(b"abc", b"cold"))
            eventually(lambda: edge.metric("waiters") == 1, "the first waits")
            client.sendall(REQUEST)
            resume()
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 302 Found\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1


def send_for_ever(client: socket.socket) -> None:
    """Until the edge has had enough."""
    while True:
        client.sendall(b"x" * 65536)


def test_body_without_end_is_not_read_for_ever(start: Start) -> None:
    """Neither in bytes nor in time."""
    with start(linger_timeout_ms=100) as edge, ExitStack() as stack:
        head = f"POST /abc HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        fast, slow = (stack.enter_context(connect(edge)) for _ in range(2))
        fast.sendall(head)
        slow.sendall(head)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_for_ever(fast)
        assert read_all(slow).startswith(b"HTTP/1.1 405 ")
        eventually(lambda: hits(edge, "linger_bytes") + hits(edge, "linger_time") == 2, "both are closed")


def test_scan_for_codes_costs_its_client_its_budget_and_nobody_else(start: Start, shards: Shards) -> None:
    """Unknown codes are answered 404 while the budget lasts, then 429; links that exist cost nothing."""
    for number in range(20):
        shards.put(f"link{number}", TARGET)
    with start(unknown_codes_per_s=1, unknown_codes_burst=10) as edge, connect(edge, "127.0.0.2") as client:
        scanner = http.client.HTTPConnection("127.0.0.1", edge.port, DEADLINE_S)
        scanner.sock = client
        statuses = []
        for number in range(30):
            scanner.request("GET", f"/no-link-{number}", headers={"Host": HOST})
            answer = scanner.getresponse()
            answer.read()
            statuses.append(answer.status)
        assert statuses[:10] == [404] * 10
        assert 429 in statuses[10:13]
        assert answer.headers["Retry-After"] == "1"
        assert hits(edge, "client_unknown_codes") >= 15
        assert [edge.get(f"/link{number}").status for number in range(20)] == [302] * 20
        assert edge.get("/no-link-of-another-client").status == 404


def test_links_that_exist_cost_no_budget(start: Start, shards: Shards) -> None:
    """A token taken before the look-up is given back when the link is there."""
    for number in range(50):
        shards.put(f"link{number}", TARGET)
    with start(unknown_codes_per_s=1, unknown_codes_burst=5) as edge:
        assert [edge.get(f"/link{number}").status for number in range(50)] == [302] * 50


def test_lack_of_descriptors_is_survived(start: Start) -> None:
    """Clients wait in the socket's queue until one is free; the worker neither ends nor spins."""
    with start() as edge, ExitStack() as stack:
        pid = edge.workers()[0]["pid"]
        held = [stack.enter_context(connect(edge)) for _ in range(3)]
        assert [status_of(client) for client in held] == [302] * 3
        taken = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken, before[1]))
        waiting = stack.enter_context(connect(edge))
        waiting.sendall(REQUEST)
        eventually(lambda: edge.metric("accept_failures_total") >= 1, "no descriptor is left")
        assert status_of(held[0]) == 302
        held[1].close()
        assert http_status(waiting) == 302
        assert edge.workers()[0]["pid"] == pid


def http_status(client: socket.socket) -> int:
    """The status of an answer that is due."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status
