"""A shard's fence: what control says about the shard's content, read by the edge with every MGET."""

from dataclasses import dataclass
from typing import Final, Literal

from wire import document
from wire.errors import FormatError

FORMAT_VERSION: Final = 1
FenceState = Literal["filling", "complete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The shard holds what `state` says for the topology of `epoch`, as long as its Redis run id is `run_id`."""

    epoch: int
    state: FenceState
    run_id: str


def encode(fence: Fence) -> bytes:
    """The value of the key pm:fence."""
    return document.pack(FORMAT_VERSION, {"epoch": fence.epoch, "state": fence.state, "run_id": fence.run_id})


def decode(data: bytes) -> Fence:
    """The fence in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "fence")
    state = document.field(body, "state", str, "fence")
    if state not in ("filling", "complete"):
        raise FormatError("value", f"fence: unknown state {state!r}")
    return Fence(
        epoch=document.field(body, "epoch", int, "fence"),
        state="complete" if state == "complete" else "filling",
        run_id=document.field(body, "run_id", str, "fence"),
    )
