"""Answers that are streamed: chunk by chunk, as fast as the client takes them, and not a chunk longer than it stays."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

Stream = AsyncGenerator[bytes, None]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_DISCONNECT: Final = "http.disconnect"


async def follow(stream: Stream, receive: Receive, ended: asyncio.Event | None) -> Stream:
    """The chunks of `stream` until it is over, the client is gone, or `ended` is set.

    The server drops in silence what is sent to a client that has gone, so nothing but `receive` tells of it.
    """
    ends = [asyncio.ensure_future(_gone(receive))]
    if ended is not None:
        ends.append(asyncio.ensure_future(ended.wait()))  # type: ignore[arg-type]
    try:
        while True:
            step = asyncio.ensure_future(_next(stream))
            try:
                await asyncio.wait((step, *ends), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _settle(step)
            if any(end.done() for end in ends) or (chunk := step.result()) is None:
                return
            yield chunk
    finally:
        for end in ends:
            end.cancel()
        await stream.aclose()


async def primed(stream: Stream) -> Stream:
    """The same stream, once its first chunk is there: what fails before it is a problem instead of a torn answer."""
    first = await _next(stream)

    async def rest() -> Stream:
        try:
            if first is not None:
                yield first
                async for chunk in stream:
                    yield chunk
        finally:
            await stream.aclose()

    return rest()


async def _next(stream: Stream) -> bytes | None:
    return await anext(stream, None)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != _DISCONNECT:
        pass


async def _settle(step: "asyncio.Future[bytes | None]") -> None:
    """Wait until the step, if it is not done, has been cancelled."""
    if not step.done():
        step.cancel()
        await asyncio.wait((step,))
