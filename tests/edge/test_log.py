"""The log: one line an event, whatever is in it, and no text that could speak to a terminal or forge a line."""

import io
import re
from collections.abc import Iterator

import orjson
import pytest
import structlog

from edge.log import REQUEST_ID_BYTES_MAX, configure, printable, request_id

HOSTILE = "a\x1b[31m\r\n2026-01-01 [error] forged \x00\x7f\x9b\u2028\u202e\udc80é"
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u202e\udc80]")


@pytest.fixture(autouse=True)
def _configuration() -> Iterator[None]:
    """Leave structlog as it was."""
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def written(log_format: str, monkeypatch: pytest.MonkeyPatch, level: str = "info") -> io.StringIO:
    """Set the log up; what it will have written."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure(log_format, level, worker=0)
    return stream


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_hostile_text_stays_in_its_line(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the event, in a field, within a list, in bytes: one line, nothing in it but printable text."""
    stream = written(log_format, monkeypatch)
    structlog.get_logger().info(HOSTILE, field=HOSTILE, fields=[HOSTILE], raw=HOSTILE.encode("utf-8", "surrogatepass"))
    (line,) = stream.getvalue().split("\n")[:-1]
    assert UNPRINTABLE.findall(line) == []
    assert "forged" in line


def test_lines_of_an_exception_cannot_be_taken_for_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception whose message has line ends and escapes: each of its lines begins with a bar."""
    stream = written("console", monkeypatch)
    structlog.get_logger().error("failed", exc_info=ValueError(HOSTILE + "\n2026-01-01 [error] forged"))
    first, *rest = stream.getvalue().rstrip("\n").split("\n")
    assert "failed" in first
    assert len(rest) > 1
    assert [line for line in rest if not line.startswith("| ")] == []
    assert UNPRINTABLE.findall("".join(rest)) == []


def test_json_line_has_the_fields_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printable is not changed."""
    stream = written("json", monkeypatch)
    structlog.get_logger().warning("shard away", reason="née", count=3)
    line = orjson.loads(stream.getvalue())
    assert {name: line[name] for name in ("event", "level", "reason", "count", "worker")} == {
        "event": "shard away",
        "level": "warning",
        "reason": "née",
        "count": 3,
        "worker": 0,
    }


def test_level_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default level, debug events cost nothing and are not written."""
    stream = written("json", monkeypatch)
    structlog.get_logger().debug("request")
    assert stream.getvalue() == ""


def test_printable_text_is_given_back_as_it_is() -> None:
    """The usual case makes no new string."""
    text = "https://example.com/é"
    assert printable(text) is text


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"", ""),
        (b"0af7651916cd43dd8448eb211c80319c-01", "0af7651916cd43dd8448eb211c80319c-01"),
        (b"a b\x1b[0m\r\n\xff\x7f", "a?b?[0m????"),
        (b"x" * (REQUEST_ID_BYTES_MAX + 1), "x" * REQUEST_ID_BYTES_MAX),
    ],
)
def test_request_id_is_bounded_and_visible(sent: bytes, logged: str) -> None:
    """Visible ASCII, at most so long; where something else was, one can see that something was."""
    assert request_id(sent) == logged
