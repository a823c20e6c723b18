"""Frames come in over the shards' streams, and each click is counted once (I3)."""

from tests.control.clicks.depot import Depot, acknowledged, name_of, plain_sum, play, send, some_frames
from tests.stack.server import RedisServer


def test_frames_are_counted_acknowledged_and_removed(database_url: str, shards: list[RedisServer]) -> None:
    """From two streams into the rollups; the edge is told on the shard that it sent to."""
    frames = some_frames(1, 20)

    async def work(depot: Depot) -> None:
        send(shards[0], *frames[:10])
        depot.start()
        send(shards[1], *frames[10:])
        await depot.wait_empty()
        await depot.eventually(lambda: _has_all(shards, frames), "acknowledgements")
        assert await depot.totals() == plain_sum(frames)

    async def _has_all(shards: list[RedisServer], frames: list) -> bool:  # type: ignore[type-arg]
        return set(acknowledged(shards[0])) == {name_of(one) for one in frames[:10]}

    play(database_url, shards, work)
