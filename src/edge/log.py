"""The logs of the edge: one line an event on standard error, for people or as JSON; nothing per request.

No text of a client can forge a line or speak to a terminal: whatever is not printable is escaped before it is written.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

REQUEST_ID_BYTES_MAX: Final = 128  # a UUID has 36 characters, a W3C trace id with its fields 55
METHODS: Final = ("", "GET", "HEAD", "other")  # by edge._http's Method
EXCEPTION: Final = "exception"  # the field that has lines


def configure(log_format: str, log_level: str, **fields: Any) -> None:
    """Set the process's log up once, at its start; `fields` stand in every line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            escape,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**fields)


def escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """structlog processor: escape what is not printable: control characters, line ends, bidirectional marks.

    Renderers write what is no string by its `repr` or as JSON, which do so themselves.
    """
    for name, value in event.items():
        if name == EXCEPTION:
            # Its lines are kept; the bar tells them from the beginning of another event.
            event[name] = "\n".join(f"| {printable(line)}" for line in str(value).split("\n"))
        elif isinstance(value, str):
            event[name] = printable(value)
    return event


def printable(text: str) -> str:
    """The text with everything that is not printable as a Python escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def request_id(value: bytes) -> str:
    """A client's X-Request-Id as it may be logged: visible ASCII, anything else as `?`, cut at REQUEST_ID_BYTES_MAX."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else "?" for byte in value[:REQUEST_ID_BYTES_MAX])


def on_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler: an error in a callback, which nobody awaits, is an event like any other."""
    structlog.get_logger("edge.loop").error(
        "error in a callback", reason=context.get("message"), exc_info=context.get("exception")
    )


def on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """sys.unraisablehook: an error that nobody could be given."""
    structlog.get_logger("edge.interpreter").error(
        "error that could not be raised", reason=repr(unraisable.exc_value), where=repr(unraisable.object)
    )


def log_request(status: int, method: int, host: bytes, path: bytes, sent_id: bytes) -> None:
    """One request and its answer, at the debug level; `method` is the parser's number."""
    fields = {"host": host.decode("latin-1"), "path": path.decode("latin-1"), "request_id": request_id(sent_id)}
    sent = {name: value for name, value in fields.items() if value}
    structlog.get_logger("edge.request").debug("request", status=status, method=METHODS[method], **sent)
