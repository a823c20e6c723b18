"""L1: a cache bounded in bytes, with second-chance (CLOCK) eviction over a circular log.

    arena:  [ padding? | entry | entry | dead | entry | ........ free ........ ]
              ^ tail: the hand of the clock      ^ head: next entry is written here

Second chance approximates LRU without moving anything on a hit (F. J. Corbató, "A paging experiment with the Multics
system", 1968): a hit sets one bit; the hand, which is the log's tail, drops an entry whose bit is clear and writes one
whose bit is set again at the head, with the bit cleared. Entries stay contiguous and of any size, nothing fragments.

The index is open addressing with linear probing and backward-shift deletion. A slot is picked by multiplying the
upper half of the hash (D. Lemire, "Fast random integer generation in an interval", 2019), so the slots need not be a
power of two. Overhead of an entry: 40 bytes of fields, up to 7 of alignment, and its share of the slots.

Invariants:
- arena and slots are allocated once and never grow: the cache cannot exceed `bytes_max`;
- every slot points to an entry that is neither dead nor padding, and each such entry has just one slot;
- no entry crosses the arena's end; from tail to head the arena is a gapless run of entries;
- at most 7/8 of the slots are taken, so that probing ends.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

from edge._ring cimport xxh64_of

cdef enum:
    BYTES_MIN = 4096
    ENTRY_BYTES_TYPICAL = 64    # arena bytes per slot; the smallest real entry is 48, a typical link's 100
    SECOND_CHANCES_MAX = 32     # entries rewritten for one insert, so that no insert walks the whole arena


# A slot's place is 32 bits of 8-byte units, 32 GiB; half of it is ample.
cdef uint64_t BYTES_MAX = 1 << 34


cdef inline uint64_t _aligned(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7


cdef inline uint32_t _tag(uint64_t key_hash) noexcept nogil:
    return <uint32_t>(key_hash >> 32)


cdef inline bint _lies_within(uint32_t home, uint32_t gap, uint32_t slot) noexcept nogil:
    """Whether `home` is in the cyclic interval (gap, slot]."""
    if gap <= slot:
        return gap < home <= slot
    return gap < home or home <= slot


@cython.final
@cython.no_gc
cdef class Cache:

    def __cinit__(self, uint64_t bytes_max):
        if not BYTES_MIN <= bytes_max <= BYTES_MAX:
            raise ValueError(f"a cache has {BYTES_MIN}..{BYTES_MAX} bytes, not {bytes_max}")
        self.bytes_max = bytes_max
        self._slots_count = bytes_max // (ENTRY_BYTES_TYPICAL + sizeof(Slot))
        self._arena_bytes = (bytes_max - self._slots_count * sizeof(Slot)) & ~<uint64_t>7
        self._entries_max = self._slots_count - self._slots_count // 8
        self._arena = <unsigned char*>malloc(self._arena_bytes)
        self._slots = <Slot*>calloc(self._slots_count, sizeof(Slot))
        if self._arena == NULL or self._slots == NULL:
            raise MemoryError(f"no memory for a cache of {bytes_max} bytes")

    def __dealloc__(self):
        free(self._arena)
        free(self._slots)

    def __init__(self, bytes_max):
        pass

    cdef Entry* find(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef int64_t slot = self._slot_of(key_hash, key, key_size)
        if slot < 0:
            return NULL
        cdef Entry* entry = <Entry*>(self._arena + (<uint64_t>self._slots[slot].place - 1) * 8)
        if not entry.flags & IS_VISITED:    # hot entries keep their cache line clean
            entry.flags |= IS_VISITED
        return entry

    cdef Entry* insert(self, uint64_t key_hash, const unsigned char* key, size_t key_size, size_t payload_size) noexcept:
        """An entry for the key with its sizes and key set and the rest for the caller to fill; NULL if it is too large.

        An entry of the same key is replaced, in its place if the size is the same.
        """
        cdef uint64_t size = _aligned(sizeof(Entry) + key_size + payload_size)
        cdef int64_t slot = self._slot_of(key_hash, key, key_size)
        cdef Entry* entry
        cdef int chances = SECOND_CHANCES_MAX
        if slot >= 0:
            entry = <Entry*>(self._arena + (<uint64_t>self._slots[slot].place - 1) * 8)
            if entry.size == size:
                entry.payload_size = payload_size
                return entry
            entry.flags |= IS_DEAD
            self._unlink(slot)
        if key_size > KEY_BYTES_MAX or payload_size > 0xFFFF or size > self._arena_bytes // 8:
            return NULL
        while self._entries >= self._entries_max or not self._has_room(size):
            self._pass_tail(chances > 0)
            chances -= 1
        entry = self._append(size)
        entry.flags = 0
        entry.key_size = key_size
        entry.payload_size = payload_size
        memcpy(entry_key(entry), key, key_size)
        self._link(_tag(key_hash), <unsigned char*>entry - self._arena)
        return entry

    cdef bint remove(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef int64_t slot = self._slot_of(key_hash, key, key_size)
        if slot < 0:
            return False
        cdef Entry* entry = <Entry*>(self._arena + (<uint64_t>self._slots[slot].place - 1) * 8)
        entry.flags |= IS_DEAD
        self._unlink(slot)
        return True

    cdef int64_t _slot_of(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef uint32_t tag = _tag(key_hash)
        cdef uint32_t slot = (<uint64_t>tag * self._slots_count) >> 32
        cdef Entry* entry
        while self._slots[slot].place != 0:
            if self._slots[slot].tag == tag:
                entry = <Entry*>(self._arena + (<uint64_t>self._slots[slot].place - 1) * 8)
                if entry.key_size == key_size and memcmp(entry_key(entry), key, key_size) == 0:
                    return slot
            slot += 1
            if slot == self._slots_count:
                slot = 0
        return -1

    cdef void _link(self, uint32_t tag, uint64_t offset) noexcept:
        cdef uint32_t slot = (<uint64_t>tag * self._slots_count) >> 32
        while self._slots[slot].place != 0:
            slot += 1
            if slot == self._slots_count:
                slot = 0
        self._slots[slot].tag = tag
        self._slots[slot].place = <uint32_t>(offset // 8 + 1)
        self._entries += 1

    cdef void _unlink(self, uint32_t slot) noexcept:
        """Empty a slot and move later ones of its run back, so that no probe stops short of its entry."""
        cdef uint32_t gap = slot, home
        while True:
            slot += 1
            if slot == self._slots_count:
                slot = 0
            if self._slots[slot].place == 0:
                break
            home = (<uint64_t>self._slots[slot].tag * self._slots_count) >> 32
            # An entry moves into the gap unless its home lies, cyclically, behind the gap and up to its own slot.
            if not _lies_within(home, gap, slot):
                self._slots[gap] = self._slots[slot]
                gap = slot
        self._slots[gap].place = 0
        self._entries -= 1

    cdef bint _has_room(self, uint64_t size) noexcept:
        """Whether `size` bytes can be written at the head in one piece, behind padding if need be."""
        cdef uint64_t to_end = self._arena_bytes - self._head
        cdef uint64_t needed = size if size <= to_end else to_end + size
        return self._used + needed <= self._arena_bytes

    cdef Entry* _append(self, uint64_t size) noexcept:
        cdef uint64_t to_end = self._arena_bytes - self._head
        cdef Entry* entry = <Entry*>(self._arena + self._head)
        if size > to_end:
            if to_end > 0:
                entry.size = <uint32_t>to_end
                entry.flags = IS_PADDING
                self._used += to_end
            self._head = 0
            entry = <Entry*>self._arena
        entry.size = <uint32_t>size
        self._used += size
        self._head += size
        if self._head == self._arena_bytes:
            self._head = 0
        return entry

    cdef void _pass_tail(self, bint can_keep) noexcept:
        """Take the oldest entry out of the log: drop it, or write it again at the head if it was visited."""
        cdef Entry* entry = <Entry*>(self._arena + self._tail)
        cdef Entry* copy
        cdef uint64_t size = entry.size, key_hash
        cdef uint32_t place = <uint32_t>(self._tail // 8 + 1)
        cdef uint32_t slot
        self._tail += size
        if self._tail == self._arena_bytes:
            self._tail = 0
        self._used -= size
        if entry.flags & (IS_DEAD | IS_PADDING):
            return
        key_hash = xxh64_of(entry_key(entry), entry.key_size, 0)
        slot = (<uint64_t>_tag(key_hash) * self._slots_count) >> 32
        while self._slots[slot].place != place:     # ends: a live entry has a slot
            slot += 1
            if slot == self._slots_count:
                slot = 0
        if can_keep and entry.flags & IS_VISITED and self._entries < self._entries_max and self._head + size <= self._arena_bytes:
            # Head and tail may overlap when the arena is nearly full: the source is never before the destination.
            copy = <Entry*>(self._arena + self._head)
            memmove(copy, entry, size)
            copy.flags = 0
            self._append(size)
            self._slots[slot].place = <uint32_t>((<unsigned char*>copy - self._arena) // 8 + 1)
            return
        self._unlink(slot)
        self.evictions += 1

    # ------------------------------------------------------------------------------------------------ public API

    def get(self, const unsigned char[::1] key not None):
        """The payload held for the key, or None."""
        cdef Entry* entry = self.find(xxh64_of(&key[0], key.shape[0], 0), &key[0], key.shape[0])
        if entry == NULL:
            return None
        return PyBytes_FromStringAndSize(<char*>entry_payload(entry), entry.payload_size)

    def put(self, const unsigned char[::1] key not None, bytes payload not None):
        """Hold the payload for the key; False if it is too large for this cache."""
        cdef Entry* entry = self.insert(xxh64_of(&key[0], key.shape[0], 0), &key[0], key.shape[0], len(payload))
        if entry == NULL:
            return False
        memcpy(entry_payload(entry), PyBytes_AS_STRING(payload), len(payload))
        return True

    def discard(self, const unsigned char[::1] key not None):
        """Remove the key; whether it was there."""
        return self.remove(xxh64_of(&key[0], key.shape[0], 0), &key[0], key.shape[0])

    def keys(self):
        """The keys from the oldest place in the log to the newest."""
        cdef uint64_t at = self._tail, left = self._used
        cdef Entry* entry
        cdef list found = []
        while left > 0:
            entry = <Entry*>(self._arena + at)
            if not entry.flags & (IS_DEAD | IS_PADDING):
                found.append(PyBytes_FromStringAndSize(<char*>entry_key(entry), entry.key_size))
            left -= entry.size
            at += entry.size
            if at == self._arena_bytes:
                at = 0
        return found

    @property
    def used_bytes(self):
        """Bytes of the arena between tail and head, and the slots."""
        return self._used + self._slots_count * sizeof(Slot)

    @property
    def eviction_count(self):
        return self.evictions

    def __len__(self):
        return self._entries
