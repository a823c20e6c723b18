"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) of the live tail."""

import asyncio
from typing import Final

import msgspec

from control.clicks.audience import Audience, Event, Wanted
from control.streaming import Stream

CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"
# Shorter than the minute after which proxies close what is silent.
HEARTBEAT_S: Final = 15.0
# A key that is revoked is refused at the next request, and this is when a follower has to make one.
STREAM_S_MAX: Final = 3600.0
_RECONNECT: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": alive\n\n"


async def events(audience: Audience, wanted: Wanted) -> Stream:
    """What a follower is told, until it has had its time; raises Error("too_many_tails")."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + STREAM_S_MAX
    async with audience.join(wanted) as follower:
        yield _RECONNECT
        while (left_s := end_s - loop.time()) > 0:
            taken = await follower.take(min(HEARTBEAT_S, left_s))
            yield b"".join(map(_encoded, taken)) or _HEARTBEAT
        yield _encoded(Event("end", {"reason": "time"}))


def _encoded(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.name.encode("ascii"), msgspec.json.encode(event.data))
