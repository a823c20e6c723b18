"""What a link was published for: the UTM parameters of a query."""

from typing import Final
from urllib.parse import unquote_to_bytes

from control.clicks.values import clean

# Source and medium are compared without regard to case, as analytics tools do; a campaign's name is somebody's own.
_NAMES: Final = {b"utm_source": 0, b"utm_medium": 1, b"utm_campaign": 2}
_LOWERED: Final = (True, True, False)
NOTHING: Final = ("", "", "")
# A request's query is cut there (wire.click.TEXT_BYTES_MAX); a target's may be longer and is asked for once a batch.
QUERY_BYTES_KEPT: Final = 255


def campaign_of(query: bytes) -> tuple[str, str, str]:
    """utm_source, utm_medium and utm_campaign; "" where one is not there. The first that is not empty counts."""
    if b"utm_" not in query:
        return NOTHING
    found = ["", "", ""]
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        at = _NAMES.get(name)
        if at is not None and value and not found[at]:
            found[at] = _text(value, is_lowered=_LOWERED[at])
    return found[0], found[1], found[2]


def query_of(target: str) -> bytes:
    """The query of a target, without its "?"."""
    return target.partition("#")[0].partition("?")[2].encode("utf-8", "replace")


def _text(value: bytes, *, is_lowered: bool) -> str:
    """Decoded as forms are (WHATWG URL, application/x-www-form-urlencoded)."""
    text = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
    return clean(text.lower() if is_lowered else text)
