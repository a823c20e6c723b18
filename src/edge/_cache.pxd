"""L1: a cache bounded in bytes. A leaf: cimports only libc, cpython and the hash of _ring."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    KEY_BYTES_MAX = 255         # a key's size is one byte; `<domain-id>:<code>` needs at most 75

cdef enum EntryFlag:
    IS_VISITED = 1              # found since it was written or last passed by the hand
    IS_DEAD = 2                 # removed; its bytes come back when the tail passes
    IS_REFRESHING = 8
    IS_PADDING = 4              # fills the arena's end; only the first 8 bytes exist


cdef struct Entry:
    uint32_t size               # bytes of the whole entry, a multiple of 8
    uint8_t flags               # EntryFlag
    uint8_t key_size            # bytes
    uint8_t kind                # the owner's: what the entry answers
    uint8_t reserved
    int64_t deadline_ms         # the owner's monotonic clock; not looked at here
    uint64_t link_id
    uint32_t version            # of the link at its key
    uint32_t generation         # of the shard when the entry was filled
    uint32_t max_age_s
    uint32_t reserved2
    uint32_t filled_s           # the owner's monotonic clock
    uint16_t shard              # the owner's number of the shard
    uint16_t payload_size       # bytes
    # key and payload follow


cdef struct Slot:
    uint32_t tag                # upper half of the hash: picks the slot and sorts out most other keys
    uint32_t place              # 1 + offset of the entry in units of 8 bytes; 0 is an empty slot


cdef inline unsigned char* entry_key(Entry* entry) noexcept nogil:
    return <unsigned char*>entry + sizeof(Entry)


cdef inline unsigned char* entry_payload(Entry* entry) noexcept nogil:
    return <unsigned char*>entry + sizeof(Entry) + entry.key_size


cdef class Cache:
    cdef unsigned char* _arena          # owned
    cdef Slot* _slots                   # owned
    cdef uint64_t _arena_bytes          # multiple of 8
    cdef uint64_t _head, _tail          # offsets: next byte to write, oldest entry
    cdef uint64_t _used                 # bytes between tail and head
    cdef uint32_t _slots_count
    cdef uint32_t _entries, _entries_max
    cdef readonly uint64_t bytes_max    # arena and slots together
    cdef uint64_t evictions

    # A found entry is borrowed: it is valid until the next insert or remove.
    cdef Entry* find(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef Entry* insert(self, uint64_t key_hash, const unsigned char* key, size_t key_size, size_t payload_size) noexcept
    cdef bint remove(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept

    cdef int64_t _slot_of(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef void _unlink(self, uint32_t slot) noexcept
    cdef void _link(self, uint32_t tag, uint64_t offset) noexcept
    cdef bint _has_room(self, uint64_t size) noexcept
    cdef Entry* _append(self, uint64_t size) noexcept
    cdef void _pass_tail(self, bint can_keep) noexcept
