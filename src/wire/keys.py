"""Names of the Redis keys. Every key that Pointsman writes is listed here and in docs/redis-keys.md."""

from typing import Final

LINK_PREFIX: Final = b"l:"
FENCE: Final = b"pm:fence"
TOPOLOGY: Final = b"pm:topology"
DOMAINS: Final = b"pm:domains"
SEQUENCE: Final = b"pm:seq"
EDGE_PREFIX: Final = b"pm:edge:"
CLICKS: Final = b"pm:clicks"
CLICKS_GROUP: Final = b"control"
CLICKS_TAIL: Final = b"pm:clicks:tail"
CLICK_ACK_PREFIX: Final = b"pm:clicks:ack:"

# The one field of an entry of the stream: a frame (wire.frame) or a report (wire.report).
FRAME_FIELD: Final = b"f"
REPORT_FIELD: Final = b"r"

# What an edge tracks on every shard. Heartbeats are left out on purpose: an edge that heard every other edge's
# heartbeat would cost pushes that grow with the square of the number of edges.
TRACKED_PREFIXES: Final = (LINK_PREFIX, FENCE, TOPOLOGY, DOMAINS, SEQUENCE)


def cache_key(domain_id: int, code: str) -> bytes:
    """The key that is hashed onto the ring and held in L1: `<domain-id>:<code>`."""
    return b"%d:%s" % (domain_id, code.encode("ascii"))


def link_key(domain_id: int, code: str) -> bytes:
    """The Redis key of a link's record: `l:<domain-id>:<code>`."""
    return LINK_PREFIX + cache_key(domain_id, code)


def edge_key(edge_id: str) -> bytes:
    """The Redis key of one edge worker's heartbeat."""
    return EDGE_PREFIX + edge_id.encode("ascii")


def click_ack_key(edge_id: str) -> bytes:
    """The hash by which control tells an edge what is stored; its fields are `frame_name`s, and `report_name`s."""
    return CLICK_ACK_PREFIX + edge_id.encode("ascii")


def frame_name(writer: int, segment: int, start: int) -> bytes:
    """A frame's identity as a field of `click_ack_key`; the value is its end in the segment, in decimal."""
    return b"%d:%d:%d" % (writer, segment, start)


def report_name(writer: int) -> bytes:
    """A writer's final report as a field of `click_ack_key`; the value is 1."""
    return b"%d" % writer
