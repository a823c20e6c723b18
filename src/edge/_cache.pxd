"""L1: a cache bounded in bytes. A leaf: cimports only libc, cpython, posix, its index and the hash of _ring."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from edge._index cimport Slot, Table

cdef enum:
    KEY_BYTES_MAX = 255         # a key's size is one byte; `<domain-id>:<code>` needs at most 75
    NO_MAX_AGE = 0xFFFFFFFF     # a link whose answers no shared cache may keep

cdef enum EntryFlag:
    IS_DEAD = 2                 # removed; its bytes come back when the tail passes
    IS_PADDING = 4              # fills a log's end; only `units` and `flags` exist
    HAS_END = 16                # the owner's: the link expires some day; cleared by insert
    IS_REFRESHING = 8           # the owner's: a look-up that will replace the entry is under way; cleared by insert
    HIT = 64                    # finds since the entry was written or last passed by a tail, in the upper two bits
    HITS_MAX = 192


cdef packed struct Entry:
    uint16_t units              # size of the whole entry in units of 4 bytes
    uint8_t flags               # EntryFlag
    uint8_t key_size            # bytes
    uint8_t kind                # the owner's: what the entry answers
    uint16_t shard              # the owner's number of the shard
    uint16_t payload_size       # bytes
    uint32_t max_age_s          # the owner's: how long shared caches may keep the answer, or NO_MAX_AGE
    int64_t deadline_ms         # the owner's monotonic clock; not looked at here
    uint64_t link_id            # the owner's
    uint32_t version            # the owner's: of the link at its key
    uint32_t generation         # the owner's: of the shard when the entry was filled
    int32_t filled_s            # the owner's monotonic clock; negative: filled before the machine's start
    # key and payload follow


cdef struct Log:
    uint64_t start              # offset in the arena
    uint64_t size               # bytes, a multiple of 4
    uint64_t head, tail         # offsets in the log: next byte to write, oldest entry
    uint64_t used               # bytes between tail and head
    uint64_t passed             # bytes that the tail has passed since the beginning
    bint has_wrapped            # every byte of it may have been touched


cdef inline unsigned char* entry_key(Entry* entry) noexcept nogil:
    return <unsigned char*>entry + sizeof(Entry)


cdef inline unsigned char* entry_payload(Entry* entry) noexcept nogil:
    return <unsigned char*>entry + sizeof(Entry) + entry.key_size


cdef inline uint64_t entry_size(Entry* entry) noexcept nogil:
    return <uint64_t>entry.units * 4


cdef class Cache:
    cdef unsigned char* _arena          # owned
    cdef Table* _tables                 # owned
    cdef Log _small, _main              # halves of the arena
    cdef int _tables_bits               # there are 1 << _tables_bits tables
    cdef uint64_t _index_bytes          # the tables and what they point to
    cdef uint64_t _entry_bytes_max      # larger ones are refused
    cdef uint64_t _entries
    cdef readonly uint64_t bytes_max    # logs and index together
    cdef uint64_t evictions

    cdef inline Entry* entry_at(self, Log* log, uint64_t offset) noexcept:
        return <Entry*>(self._arena + log.start + offset)

    cdef inline Entry* entry_from(self, Log* log, uint64_t position) noexcept:
        """The entry that begins so many bytes after the log's beginning; the tail has not passed it, the head has."""
        cdef uint64_t offset = log.tail + (position - log.passed)
        return self.entry_at(log, offset if offset < log.size else offset - log.size)

    # A found entry is borrowed: it is valid until the next insert or remove.
    cdef Entry* find(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef Entry* insert(self, uint64_t key_hash, const unsigned char* key, size_t key_size, size_t payload_size) noexcept
    cdef bint remove(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept

    cdef bint _has_first_slots(self, uint64_t tables) noexcept
    cdef Slot* _slot_of(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef Slot* _slot_of_place(self, uint32_t tag, uint32_t place) noexcept
    cdef int _link(self, uint32_t tag, uint64_t offset) noexcept
    cdef int _unlink(self, Slot* slot) noexcept
    cdef bint _grow(self, Table* table) noexcept
    cdef int _crowd_out(self, Table* table, uint32_t tag) noexcept
    cdef int _make_room(self, Log* log, uint64_t size) noexcept
    cdef Entry* _append(self, Log* log, uint64_t size) noexcept
    cdef Entry* _pass(self, Log* log) noexcept
    cdef int _pass_small(self) noexcept
    cdef int _pass_main(self, bint can_keep) noexcept
    cdef int _move(self, Entry* entry, uint8_t hits) noexcept
    cdef int _drop(self, Entry* entry, uint64_t key_hash) noexcept
