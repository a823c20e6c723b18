"""Answers that are streamed: chunk by chunk, as fast as the client takes them, and not a chunk longer than it stays."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

Stream = AsyncGenerator[bytes, None]
Receive = Callable[[], Awaitable[dict[str, Any]]]

# A client that takes nothing for so long has gone without a word.
STALL_S: Final = 60.0
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


@asynccontextmanager
async def taken_in_time(stream: Stream, on_stall: Callable[[], None]) -> AsyncIterator[None]:
    """For the time in which the server has a chunk of `stream`, until the client has taken it. After STALL_S of that
    `on_stall` is called, the stream is closed, and the request is cancelled.

    A generator that waits to be asked for more cannot end by itself, and keeps its place among those that are counted.
    The stream is closed first: once nobody has them, the generators around it would all be closed at the same time.
    """
    loop, request = asyncio.get_running_loop(), asyncio.current_task()
    assert request is not None  # who asks for chunks
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        on_stall()
        try:
            await stream.aclose()
        finally:
            request.cancel()

    timer = loop.call_later(STALL_S, lambda: ending.append(loop.create_task(end())))
    try:
        yield
    finally:
        timer.cancel()
        if any(not task.done() for task in ending):  # the client went on at this very moment; too late
            await asyncio.wait(ending)


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
