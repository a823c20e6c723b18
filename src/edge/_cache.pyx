"""L1: a cache bounded in bytes. Eviction is S3-FIFO, over two circular logs.

    new ──▶ small  [ entry | entry | dead | … free … ]    a sixth of the bytes
              │ tail: found since it came? ──no──▶ dropped; its fingerprint goes to the ghost
              ▼ yes
            main   [ padding? | entry | entry | … ]        the rest
              ▲ │ tail: found since it was last here? ──no──▶ dropped
              │ └─yes: written again at the head, with one hit less
    new, and its fingerprint is in the ghost

S3-FIFO (J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023) keeps what is asked for once from
costing what is asked for often its place. A hit moves nothing: it adds one to a count of two bits, and an entry with
three hits is only read. docs/adr/0007 has the comparison with other policies, and why the sizes differ from the paper's.

The index is 2^n tables (`_index.pxd`), chosen by the upper bits of a hash. A table grows on its own, a quarter at a
time: no insert waits for more than one table, and the index costs what the entries need, however large they are. Behind
its slots a table has its part of the ghost.

Overhead of an entry: 41 bytes of fields, up to 3 of alignment, 13 to 17 of its table.

Invariants:
- logs and index together never exceed `bytes_max`: what a table grows by is taken from the end of `main`, as long as
  `main` has not reached it; from then on the tables stay as they are;
- every slot points to an entry that is neither dead nor padding, and each such entry has just one slot;
- at most 7/8 of a table's slots are taken;
- no entry crosses its log's end; from tail to head a log is a gapless run of entries.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from edge._index cimport (
    GHOST_WAYS, Slot, Table, add_ghost, empty_slot, home_of, place_slot, slot_after, slots_bytes, tag_of, take_ghost,
)
from edge._ring cimport xxh64_of

cdef enum:
    BYTES_MIN = 4096
    UNIT = 4                    # entries begin at multiples of it
    SMALL_SHARE = 6             # `small` is this part of the arena
    ENTRY_SHARE = 16            # an entry is at most this part of the cache: two of them fit `small` in any position
    SECOND_CHANCES_MAX = 32     # entries rewritten for one that comes to `main`, so that none walks all of it
    TABLES_TRIED_MAX = 64       # by `key_at`: a microsecond or two
    TABLE_SHARE = 1 << 20       # bytes of the cache for a table: ten thousand links, rebuilt in a tenth of a millisecond
    TABLES_BITS_MAX = 12        # the array of tables is 64 KiB at most, and stays in the processor's cache

# A slot's place is 32 bits of units of 4 bytes.
cdef uint64_t BYTES_MAX = 1 << 34


cdef inline uint64_t _aligned(uint64_t size) noexcept nogil:
    return (size + UNIT - 1) & ~<uint64_t>(UNIT - 1)


cdef inline bint _has_room(Log* log, uint64_t size) noexcept nogil:
    """Whether `size` bytes can be written at the head in one piece, behind padding if need be."""
    cdef uint64_t to_end = log.size - log.head
    cdef uint64_t needed = size if size <= to_end else to_end + size
    return log.used + needed <= log.size


cdef inline Table* _table(Cache cache, uint32_t tag) noexcept:
    return cache._tables + (<uint64_t>tag << cache._tables_bits >> 32)


cdef inline Entry* _at(Cache cache, Slot* slot) noexcept:
    return <Entry*>(cache._arena + (<uint64_t>slot.place - 1) * UNIT)


cdef Entry* _reset(Entry* entry, uint8_t hits, size_t payload_size) noexcept:
    entry.flags = hits
    entry.payload_size = <uint16_t>payload_size
    entry.max_age_s = NO_MAX_AGE
    return entry


@cython.final
@cython.no_gc
cdef class Cache:

    def __cinit__(self, uint64_t bytes_max):
        cdef uint64_t tables, arena_bytes
        if not BYTES_MIN <= bytes_max <= BYTES_MAX:
            raise ValueError(f"a cache has {BYTES_MIN}..{BYTES_MAX} bytes, not {bytes_max}")
        self.bytes_max = bytes_max
        while self._tables_bits < TABLES_BITS_MAX and bytes_max >> self._tables_bits > TABLE_SHARE:
            self._tables_bits += 1
        tables = <uint64_t>1 << self._tables_bits
        self._index_bytes = tables * (sizeof(Table) + slots_bytes(GHOST_WAYS))
        arena_bytes = (bytes_max - self._index_bytes) & ~<uint64_t>(UNIT - 1)
        self._entry_bytes_max = bytes_max // ENTRY_SHARE
        self._small.size = _aligned(arena_bytes // SMALL_SHARE)
        self._main.start = self._small.size
        self._main.size = arena_bytes - self._small.size
        self._arena = <unsigned char*>malloc(arena_bytes)
        self._tables = <Table*>calloc(tables, sizeof(Table))
        if self._arena == NULL or self._tables == NULL or not self._has_first_slots(tables):
            raise MemoryError(f"no memory for a cache of {bytes_max} bytes")

    def __dealloc__(self):
        cdef uint64_t table
        if self._tables != NULL:
            for table in range(<uint64_t>1 << self._tables_bits):
                free(self._tables[table].slots)
        free(self._tables)
        free(self._arena)

    def __init__(self, bytes_max):
        pass

    cdef bint _has_first_slots(self, uint64_t tables) noexcept:
        cdef uint64_t table
        for table in range(tables):
            self._tables[table].slots = <Slot*>calloc(1, slots_bytes(GHOST_WAYS))
            if self._tables[table].slots == NULL:
                return False
            self._tables[table].count = GHOST_WAYS
        return True

    cdef Entry* find(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef Slot* slot = self._slot_of(key_hash, key, key_size)
        cdef Entry* entry
        if slot == NULL:
            return NULL
        entry = _at(self, slot)
        if entry.flags < HITS_MAX:      # hot entries keep their cache line clean
            entry.flags += HIT
        return entry

    cdef Entry* insert(self, uint64_t key_hash, const unsigned char* key, size_t key_size, size_t payload_size) noexcept:
        """An entry for the key with its sizes and key set and the rest for the caller to fill; NULL if it is too large.

        An entry of the same key is replaced, in its place if the size is the same, else in its log; it keeps its hits.
        """
        cdef uint64_t size = _aligned(sizeof(Entry) + key_size + payload_size)
        cdef Slot* slot = self._slot_of(key_hash, key, key_size)
        cdef Log* log = &self._small
        cdef Entry* entry
        cdef uint8_t hits = 0
        if slot != NULL:
            entry = _at(self, slot)
            hits = entry.flags & HITS_MAX
            if entry_size(entry) == size:
                return _reset(entry, hits, payload_size)
            if <uint64_t>(<unsigned char*>entry - self._arena) >= self._main.start:
                log = &self._main
            entry.flags |= IS_DEAD
            self._unlink(slot)
        if key_size > KEY_BYTES_MAX or payload_size > 0xFFFF or size > self._entry_bytes_max:
            return NULL
        if slot == NULL and take_ghost(_table(self, tag_of(key_hash)), key_hash):
            log = &self._main
        self._make_room(log, size)
        entry = self._append(log, size)
        entry.key_size = <uint8_t>key_size
        memcpy(entry_key(entry), key, key_size)
        self._link(tag_of(key_hash), <unsigned char*>entry - self._arena)
        return _reset(entry, hits, payload_size)

    cdef bint remove(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef Slot* slot = self._slot_of(key_hash, key, key_size)
        if slot == NULL:
            return False
        _at(self, slot).flags |= IS_DEAD
        self._unlink(slot)
        return True

    # ------------------------------------------------------------------------------------------------ index

    cdef Slot* _slot_of(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        cdef uint32_t tag = tag_of(key_hash)
        cdef Table* table = _table(self, tag)
        cdef Slot* slot = table.slots + home_of(table, self._tables_bits, tag)
        cdef Slot* end = table.slots + table.count
        cdef Entry* entry
        while slot.place != 0:
            if slot.tag == tag:
                entry = _at(self, slot)
                if entry.key_size == key_size and memcmp(entry_key(entry), key, key_size) == 0:
                    return slot
            slot += 1
            if slot == end:
                slot = table.slots
        return NULL

    cdef Slot* _slot_of_place(self, uint32_t tag, uint32_t place) noexcept:
        """The slot of a live entry: it has one, so the probing ends."""
        cdef Table* table = _table(self, tag)
        cdef uint32_t at = home_of(table, self._tables_bits, tag)
        while table.slots[at].place != place:
            at = slot_after(table, at)
        return table.slots + at

    cdef int _link(self, uint32_t tag, uint64_t offset) noexcept:
        cdef Table* table = _table(self, tag)
        if (table.entries + 1) * 4 > table.count * 3 and not self._grow(table):
            if (table.entries + 1) * 8 > table.count * 7:
                self._crowd_out(table, tag)
        place_slot(table, self._tables_bits, Slot(tag, <uint32_t>(offset // UNIT + 1)))
        self._entries += 1
        return 0

    cdef int _unlink(self, Slot* slot) noexcept:
        cdef Table* table = _table(self, slot.tag)
        empty_slot(table, self._tables_bits, <uint32_t>(slot - table.slots))
        self._entries -= 1
        return 0

    cdef bint _grow(self, Table* table) noexcept:
        """Give the table a quarter more slots, out of bytes that `main` has never touched; False if there are none."""
        cdef uint32_t count = table.count + (table.count // 4 + GHOST_WAYS - 1) // GHOST_WAYS * GHOST_WAYS
        cdef uint64_t size = slots_bytes(count)
        cdef Table grown
        cdef uint32_t at
        if self._main.has_wrapped or self._main.size - self._main.head < size:
            return False
        grown.slots = <Slot*>calloc(1, size)
        if grown.slots == NULL:
            return False
        grown.count = count
        grown.entries = 0
        for at in range(table.count):
            if table.slots[at].place != 0:
                place_slot(&grown, self._tables_bits, table.slots[at])
        # Until here both were held: `main` had room for that.
        size -= slots_bytes(table.count)
        free(table.slots)
        table[0] = grown
        self._main.size -= size
        self._index_bytes += size
        return True

    cdef int _crowd_out(self, Table* table, uint32_t tag) noexcept:
        """Drop the least asked for of the entries in the run of slots where a newcomer would stand."""
        cdef uint32_t at = home_of(table, self._tables_bits, tag)
        cdef Slot* least = NULL
        cdef Slot* slot
        cdef int left = GHOST_WAYS
        while left > 0:
            slot = table.slots + at
            if slot.place != 0 and (least == NULL or _at(self, slot).flags < _at(self, least).flags):
                least = slot
            at = slot_after(table, at)
            left -= 1 if slot.place != 0 else 0
        _at(self, least).flags |= IS_DEAD
        self._unlink(least)
        self.evictions += 1
        return 0

    # ------------------------------------------------------------------------------------------------ logs

    cdef int _make_room(self, Log* log, uint64_t size) noexcept:
        cdef int chances = SECOND_CHANCES_MAX
        while not _has_room(log, size):
            if log == &self._small:
                self._pass_small()
            else:
                self._pass_main(chances > 0)
                chances -= 1
        return 0

    cdef Entry* _append(self, Log* log, uint64_t size) noexcept:
        """Bytes at the head; the caller has made room."""
        cdef uint64_t to_end = log.size - log.head
        cdef Entry* entry = self.entry_at(log, log.head)
        if size > to_end:
            if to_end > 0:
                entry.units = <uint16_t>(to_end // UNIT)    # fits: padding is smaller than an entry
                entry.flags = IS_PADDING
                log.used += to_end
            log.head = 0
            log.has_wrapped = True
            entry = self.entry_at(log, 0)
        entry.units = <uint16_t>(size // UNIT)
        log.used += size
        log.head += size
        return entry

    cdef Entry* _pass(self, Log* log) noexcept:
        """Take the oldest entry out of the log. Its bytes stay as they are until the next append."""
        cdef Entry* entry = self.entry_at(log, log.tail)
        cdef uint64_t size = entry_size(entry)
        log.tail += size
        log.used -= size
        log.passed += size
        if log.tail == log.size:
            log.tail = 0
        return entry

    cdef int _pass_small(self) noexcept:
        cdef Entry* entry = self._pass(&self._small)
        cdef uint64_t key_hash
        if entry.flags & (IS_DEAD | IS_PADDING):
            return 0
        # Until `main` is full for the first time, nothing is dropped.
        if entry.flags >= HIT or (not self._main.has_wrapped and _has_room(&self._main, entry_size(entry))):
            self._make_room(&self._main, entry_size(entry))
            return self._move(entry, 0)
        key_hash = xxh64_of(entry_key(entry), entry.key_size, 0)
        add_ghost(_table(self, tag_of(key_hash)), key_hash)
        return self._drop(entry, key_hash)

    cdef int _pass_main(self, bint can_keep) noexcept:
        cdef Entry* entry = self._pass(&self._main)
        if entry.flags & (IS_DEAD | IS_PADDING):
            return 0
        if can_keep and entry.flags >= HIT:
            # Room is never short: the head is before the entry, or, at the log's end, its start is free up to there.
            return self._move(entry, (entry.flags & HITS_MAX) - HIT)
        return self._drop(entry, xxh64_of(entry_key(entry), entry.key_size, 0))

    cdef int _move(self, Entry* entry, uint8_t hits) noexcept:
        """Write an entry that was passed at the head of `main`."""
        cdef uint32_t tag = tag_of(xxh64_of(entry_key(entry), entry.key_size, 0))
        cdef Slot* slot = self._slot_of_place(tag, <uint32_t>((<unsigned char*>entry - self._arena) // UNIT + 1))
        cdef uint64_t size = entry_size(entry)
        cdef uint8_t owners = entry.flags & (IS_REFRESHING | HAS_END)
        cdef uint64_t to_end = self._main.size - self._main.head
        # Head and tail may overlap when the log is nearly full: the source is never before the destination.
        cdef unsigned char* copy = self._arena + self._main.start + (self._main.head if size <= to_end else 0)
        memmove(copy, entry, size)
        self._append(&self._main, size)
        (<Entry*>copy).flags = hits | owners
        slot.place = <uint32_t>((copy - self._arena) // UNIT + 1)
        return 0

    cdef int _drop(self, Entry* entry, uint64_t key_hash) noexcept:
        self._unlink(
            self._slot_of_place(tag_of(key_hash), <uint32_t>((<unsigned char*>entry - self._arena) // UNIT + 1))
        )
        self.evictions += 1
        return 0

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
        """The keys of `small`, then of `main`, each from the oldest place in the log to the newest."""
        return _keys_of(self, &self._small) + _keys_of(self, &self._main)

    def key_at(self, uint64_t number):
        """The key of the first slot that is taken from the one which `number` names; None if few are.

        The lower bits name the table, the upper ones the slot. Bounded: it looks at TABLES_TRIED_MAX tables.
        """
        cdef uint64_t tables = <uint64_t>1 << self._tables_bits
        cdef uint32_t left, at
        cdef int tried
        cdef Table* table
        cdef Entry* entry
        for tried in range(TABLES_TRIED_MAX):
            table = self._tables + ((number + tried) & (tables - 1))
            at = <uint32_t>(number >> 32) % table.count
            left = table.count if table.entries > 0 else 0
            while left > 0:
                if table.slots[at].place != 0:
                    entry = _at(self, table.slots + at)
                    return PyBytes_FromStringAndSize(<char*>entry_key(entry), entry.key_size)
                at = slot_after(table, at)
                left -= 1
        return None

    def time_finds(self, list keys not None, int rounds):
        """Nanoseconds for one find of each key in turn, `rounds` times over; for the benchmarks alone."""
        # Keys, sizes and hashes lie in order, so that what is waited for is the cache's memory alone.
        cdef bytes joined = b"".join(keys), sizes = bytes(map(len, keys))
        cdef bytearray hashes = bytearray(len(keys) * sizeof(uint64_t))
        cdef uint64_t* hash_at = <uint64_t*>PyByteArray_AS_STRING(hashes)
        cdef const unsigned char* size_at = <const unsigned char*>PyBytes_AS_STRING(sizes)
        cdef const unsigned char* key
        cdef size_t count = len(keys), at
        cdef timespec before, after
        cdef uint64_t found = 0
        key = <const unsigned char*>PyBytes_AS_STRING(joined)
        for at in range(count):
            hash_at[at] = xxh64_of(key, size_at[at], 0)
            key += size_at[at]
        clock_gettime(CLOCK_MONOTONIC, &before)
        for _ in range(rounds):
            key = <const unsigned char*>PyBytes_AS_STRING(joined)
            for at in range(count):
                found += self.find(hash_at[at], key, size_at[at]) != NULL
                key += size_at[at]
        clock_gettime(CLOCK_MONOTONIC, &after)
        elapsed_ns = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec
        return elapsed_ns / (count * rounds), found

    @property
    def used_bytes(self):
        """Bytes of the logs between tail and head, and the index."""
        return self._small.used + self._main.used + self._index_bytes

    @property
    def eviction_count(self):
        return self.evictions

    def __len__(self):
        return self._entries


cdef list _keys_of(Cache cache, Log* log):
    cdef uint64_t at = log.tail, left = log.used
    cdef Entry* entry
    cdef list found = []
    while left > 0:
        entry = cache.entry_at(log, at)
        if not entry.flags & (IS_DEAD | IS_PADDING):
            found.append(PyBytes_FromStringAndSize(<char*>entry_key(entry), entry.key_size))
        left -= entry_size(entry)
        at += entry_size(entry)
        if at == log.size:
            at = 0
    return found
