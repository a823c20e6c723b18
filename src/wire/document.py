"""What the JSON documents share: the version byte in front and clear refusals.

A document is the ASCII digit of its format version followed by one JSON object, so that it stays readable in redis-cli.
"""

import reprlib
from typing import Any, TypeVar

import orjson

from wire.errors import FormatError

DOCUMENT_BYTES_MAX = 1 << 20
_T = TypeVar("_T")


def pack(version: int, body: dict[str, Any]) -> bytes:
    """The bytes of a document."""
    return b"%d" % version + orjson.dumps(body)


def unpack(data: bytes, version: int, name: str) -> dict[str, Any]:
    """The body of a document of just this version; raises FormatError for anything else."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise FormatError("value", f"{name} of {len(data)} bytes; at most {DOCUMENT_BYTES_MAX} are read")
    if data[:1] != b"%d" % version:
        raise FormatError("version", f"{name} of unknown format version {data[:1]!r}; this build reads {version}")
    try:
        body = orjson.loads(data[1:])
    except orjson.JSONDecodeError as error:
        raise FormatError("json", f"{name} is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise FormatError("json", f"{name} is not a JSON object")
    return body


def field(body: dict[str, Any], key: str, kind: type[_T], name: str) -> _T:
    """`body[key]`, refused unless it is a `kind`; a bool is no int.

    The message has only the outside of what is refused: one that nests deep cannot be written out.
    """
    value = body.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FormatError("value", f"{name}: {key!r} must be of type {kind.__name__}, not {reprlib.repr(value)}")
    return value
