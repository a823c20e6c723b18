"""A table of L1's index, and the part of the ghost behind its slots. Inline: a look-up is little more than this.

Open addressing with linear probing and backward-shift deletion. A slot is picked by multiplication (D. Lemire, "Fast
random integer generation in an interval", 2019), so the slots need not be a power of two. The ghost is buckets of
GHOST_WAYS fingerprints of 16 bits, each bucket a queue of those that were dropped last.

Invariant: a table is never full, so that probing ends; whoever places a slot sees to it.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memmove

cdef enum:
    GHOST_WAYS = 8              # 16 bytes a bucket: looking into one reads one cache line or two


cdef struct Slot:
    uint32_t tag                # upper half of the hash: picks table and slot and sorts out most other keys
    uint32_t place              # 1 + offset of the entry in units of 4 bytes; 0 is an empty slot


cdef struct Table:
    Slot* slots                 # owned by the cache; `count` slots, then `count` fingerprints
    uint32_t count              # slots, a multiple of GHOST_WAYS
    uint32_t entries            # slots that are taken


cdef inline uint64_t slots_bytes(uint32_t count) noexcept nogil:
    """What so many slots and as many fingerprints take."""
    return <uint64_t>count * (sizeof(Slot) + sizeof(uint16_t))


cdef inline uint32_t tag_of(uint64_t key_hash) noexcept nogil:
    return <uint32_t>(key_hash >> 32)


cdef inline uint32_t home_of(Table* table, int tables_bits, uint32_t tag) noexcept nogil:
    """Where probing for the tag begins: by the bits behind those that choose one of the tables."""
    return <uint32_t>(<uint64_t>(<uint32_t>(tag << tables_bits)) * table.count >> 32)


cdef inline uint32_t slot_after(Table* table, uint32_t at) noexcept nogil:
    return at + 1 if at + 1 < table.count else 0


cdef inline int place_slot(Table* table, int tables_bits, Slot slot) noexcept nogil:
    cdef uint32_t at = home_of(table, tables_bits, slot.tag)
    while table.slots[at].place != 0:
        at = slot_after(table, at)
    table.slots[at] = slot
    table.entries += 1
    return 0


cdef inline bint lies_within(uint32_t home, uint32_t gap, uint32_t at) noexcept nogil:
    """Whether `home` is in the cyclic interval (gap, at]."""
    if gap <= at:
        return gap < home <= at
    return gap < home or home <= at


cdef inline int empty_slot(Table* table, int tables_bits, uint32_t gap) noexcept nogil:
    """Empty a slot and move later ones of its run back, so that no probe stops short of its entry."""
    cdef uint32_t at = slot_after(table, gap)
    while table.slots[at].place != 0:
        # A slot moves into the gap unless its home lies, cyclically, behind the gap and up to where it stands.
        if not lies_within(home_of(table, tables_bits, table.slots[at].tag), gap, at):
            table.slots[gap] = table.slots[at]
            gap = at
        at = slot_after(table, at)
    table.slots[gap].place = 0
    table.entries -= 1
    return 0


cdef inline uint16_t fingerprint_of(uint64_t key_hash) noexcept nogil:
    cdef uint16_t low = key_hash & 0xFFFF
    return low if low else 1        # 0 is an empty place


cdef inline uint16_t* ghost_bucket(Table* table, uint64_t key_hash) noexcept nogil:
    # In bounds: the product is below count // GHOST_WAYS, and as many fingerprints as slots stand behind the slots.
    cdef uint64_t bucket = ((key_hash >> 16 & 0xFFFF) * (table.count // GHOST_WAYS)) >> 16
    return <uint16_t*>(table.slots + table.count) + bucket * GHOST_WAYS


cdef inline bint take_ghost(Table* table, uint64_t key_hash) noexcept nogil:
    """Whether the key was added lately; it is forgotten then."""
    cdef uint16_t* bucket = ghost_bucket(table, key_hash)
    cdef uint16_t fingerprint = fingerprint_of(key_hash)
    cdef int way
    for way in range(GHOST_WAYS):
        if bucket[way] == fingerprint:
            memmove(bucket + way, bucket + way + 1, (GHOST_WAYS - 1 - way) * sizeof(uint16_t))
            bucket[GHOST_WAYS - 1] = 0
            return True
    return False


cdef inline int add_ghost(Table* table, uint64_t key_hash) noexcept nogil:
    cdef uint16_t* bucket = ghost_bucket(table, key_hash)
    memmove(bucket + 1, bucket, (GHOST_WAYS - 1) * sizeof(uint16_t))
    bucket[0] = fingerprint_of(key_hash)
    return 0
