"""L1's policy in plain Python: S3-FIFO over two byte logs and a ghost of fingerprints, in one table. No index."""

from collections import deque
from dataclasses import dataclass, field

from edge._fast import xxh64

FIELD_BYTES = 41
SLOT_BYTES = 10
TABLE_BYTES = 16
GHOST_WAYS = 8
CHANCES = 32
HITS_MAX = 3


class CrowdedError(Exception):
    """The table is full; which entry goes then depends on the index, which this model does not have."""


@dataclass(eq=False)
class Item:
    """An entry, or padding, which has no key; without a value it is dead."""

    size: int
    key: bytes = b""
    value: bytes | None = None
    hits: int = 0


@dataclass
class Log:
    """Items from the tail to the head; offsets of both."""

    size: int
    items: deque[Item] = field(default_factory=deque)
    head: int = 0
    tail: int = 0
    used: int = 0
    has_wrapped: bool = False

    def has_room(self, size: int) -> bool:
        """Whether an item fits at the head, or behind padding at the beginning."""
        to_end = self.size - self.head
        return self.used + size + (to_end if size > to_end else 0) <= self.size

    def append(self, item: Item) -> None:
        """Write at the head."""
        to_end = self.size - self.head
        if item.size > to_end:
            if to_end:
                self.items.append(Item(to_end))
            self.used += to_end
            self.head, self.has_wrapped = 0, True
        self.items.append(item)
        self.used += item.size
        self.head += item.size

    def pop(self) -> Item:
        """Take the oldest."""
        item = self.items.popleft()
        self.used -= item.size
        self.tail = (self.tail + item.size) % self.size
        return item


class PlainCache:
    """The same decisions as the compiled cache of at most 1 MiB, which has one table."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.slots = GHOST_WAYS
        arena = (bytes_max - TABLE_BYTES - self.slots * SLOT_BYTES) // 4 * 4
        self.small = Log((arena // 6 + 3) // 4 * 4)
        self.main = Log(arena - self.small.size)
        self.held: dict[bytes, Item] = {}
        self.ghost: list[deque[int]] = [deque()]
        self.evictions = 0

    def get(self, key: bytes) -> bytes | None:
        """Look up and count."""
        item = self.held.get(key)
        if item is None:
            return None
        item.hits = min(item.hits + 1, HITS_MAX)
        return item.value

    def put(self, key: bytes, value: bytes) -> bool:
        """Replace in place, or in the same log, or begin in `small`, or in `main` what was there lately."""
        size = (FIELD_BYTES + len(key) + len(value) + 3) // 4 * 4
        old = self.held.get(key)
        if old is not None and old.size == size:
            old.value = value
            return True
        log, hits = self.small, 0
        if old is not None:
            log, hits = (self.main if any(item is old for item in self.main.items) else self.small), old.hits
            self.discard(key)
        if size > self.bytes_max // 16:
            return False
        if old is None and self._take_ghost(key):
            log = self.main
        self._make_room(log, size)
        item = Item(size, key, value, hits)
        log.append(item)
        self._grow()
        self.held[key] = item
        return True

    def discard(self, key: bytes) -> bool:
        """Leave its bytes behind, dead."""
        item = self.held.pop(key, None)
        if item is not None:
            item.value = None
        return item is not None

    def keys(self) -> list[bytes]:
        """As the compiled cache gives them."""
        return [item.key for log in (self.small, self.main) for item in log.items if item.value is not None]

    @property
    def used_bytes(self) -> int:
        """Both logs and the table."""
        return self.small.used + self.main.used + TABLE_BYTES + self.slots * SLOT_BYTES

    def _make_room(self, log: Log, size: int) -> None:
        chances = CHANCES
        while not log.has_room(size):
            if log is self.small:
                self._pass_small()
            else:
                self._pass_main(chances > 0)
                chances -= 1

    def _pass_small(self) -> None:
        item = self.small.pop()
        if item.value is None:
            return
        if item.hits or (not self.main.has_wrapped and self.main.has_room(item.size)):
            self._make_room(self.main, item.size)
            item.hits = 0
            self.main.append(item)
            return
        bucket, fingerprint = self._ghost_of(item.key)
        bucket.appendleft(fingerprint)
        if len(bucket) > GHOST_WAYS:
            bucket.pop()
        self._drop(item)

    def _pass_main(self, can_keep: bool) -> None:
        item = self.main.pop()
        if item.value is None:
            return
        if item.hits and can_keep:
            item.hits -= 1
            self.main.append(item)
        else:
            self._drop(item)

    def _drop(self, item: Item) -> None:
        del self.held[item.key]
        self.evictions += 1

    def _ghost_of(self, key: bytes) -> tuple[deque[int], int]:
        key_hash = xxh64(key)
        return self.ghost[(key_hash >> 16 & 0xFFFF) * len(self.ghost) >> 16], key_hash & 0xFFFF or 1

    def _take_ghost(self, key: bytes) -> bool:
        bucket, fingerprint = self._ghost_of(key)
        if fingerprint not in bucket:
            return False
        bucket.remove(fingerprint)
        return True

    def _grow(self) -> None:
        """Another quarter of slots out of what `main` has not touched, when three quarters are taken."""
        if (len(self.held) + 1) * 4 <= self.slots * 3:
            return
        slots = self.slots + -(-(self.slots // 4) // GHOST_WAYS) * GHOST_WAYS
        if not self.main.has_wrapped and self.main.size - self.main.head >= slots * SLOT_BYTES:
            self.main.size -= (slots - self.slots) * SLOT_BYTES
            self.slots, self.ghost = slots, [deque() for _ in range(slots // GHOST_WAYS)]
        elif (len(self.held) + 1) * 8 > self.slots * 7:
            raise CrowdedError
