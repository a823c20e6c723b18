"""Bounded limits for each client: a token bucket for unknown codes, and a tally of open connections.

A bucket is one number, the instant at which it will be full again: the generic cell rate algorithm in its virtual
scheduling form (ITU-T I.371, annex A; ATM Forum UNI 3.1, section 3.6). A token taken moves that instant one token's time
away, a token given back moves it nearer, and no bucket is ever touched because time has passed. Time counts in
thousandths of a token, so every rate is exact in whole numbers.

Invariants of the budgets:
- the table never grows: a newcomer to a full set takes the place of the bucket that is nearest to full, whose forgetting
  gives its client least;
- a newcomer begins with a full bucket, and no client's taking ever changes another's bucket but by forgetting it. So
  whoever fills the table, with however many addresses, can only make it forget, which gives the forgotten more tokens and
  nobody fewer: at every instant each client has got at least as many as from a table that holds everybody.

Invariants of the tally, which is exact:
- open addressing with linear probing; no empty place lies between a key's home and its place (a removal moves back what
  a gap would cut off), and half of the places are empty, so that probing ends.

Keys are SipHash values (ClientKeys of _client): nobody outside can choose who shares a set or a place with whom.
"""

cimport cython
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)


cdef inline uint64_t _scaled(uint64_t key, uint64_t count) noexcept nogil:
    """The place of a key among `count`, by its upper half (D. Lemire, "Fast random integer generation", 2019)."""
    return ((key >> 32) * count) >> 32


@cython.final
@cython.no_gc
cdef class Budgets:

    def __cinit__(self, int64_t clients_max, int64_t rate_per_s, int64_t burst):
        if not WAYS <= clients_max <= CLIENTS_MAX:
            raise ValueError(f"budgets are held for {WAYS}..{<int>CLIENTS_MAX} clients, not {clients_max}")
        if not 0 <= rate_per_s <= RATE_MAX or not 1 <= burst <= BURST_MAX:
            raise ValueError(f"a budget has 0..{RATE_MAX} tokens a second and a burst of 1..{BURST_MAX}")
        self._rate = rate_per_s
        self._burst = burst * 1000
        if rate_per_s == 0:
            return
        self._sets_count = clients_max // WAYS
        self._sets = <BucketSet*>aligned_alloc(64, self._sets_count * sizeof(BucketSet))
        if self._sets == NULL:
            raise MemoryError(f"no memory for the budgets of {clients_max} clients")
        memset(self._sets, 0, self._sets_count * sizeof(BucketSet))

    def __dealloc__(self):
        free(self._sets)

    def __init__(self, clients_max, rate_per_s, burst):
        pass

    cdef bint take(self, uint64_t client_key, int64_t now_ms) noexcept nogil:
        cdef BucketSet* buckets
        cdef int64_t now, full_at
        cdef int way
        if self._rate == 0:
            return True
        now = now_ms * self._rate
        buckets = &self._sets[_scaled(client_key, self._sets_count)]
        way = _way_of(buckets, client_key)
        full_at = now if way < 0 else max(now, buckets.full_at[way])
        full_at += 1000
        if full_at - now > self._burst:
            self.refusals += 1
            return False
        if way < 0:
            way = _nearest_to_full(buckets)
            self.evictions += buckets.full_at[way] > now
            buckets.keys[way] = client_key
        buckets.full_at[way] = full_at
        return True

    cdef void give(self, uint64_t client_key) noexcept nogil:
        cdef BucketSet* buckets
        cdef int way
        if self._rate == 0:
            return
        buckets = &self._sets[_scaled(client_key, self._sets_count)]
        way = _way_of(buckets, client_key)
        if way >= 0:
            buckets.full_at[way] -= 1000        # an instant that is over means the same as now: full

    def take_token(self, uint64_t client_key, int64_t now_ms):
        return self.take(client_key, now_ms)

    def give_token(self, uint64_t client_key):
        self.give(client_key)

    @property
    def bytes(self):
        return self._sets_count * sizeof(BucketSet)


cdef inline int _way_of(const BucketSet* buckets, uint64_t key) noexcept nogil:
    """The key's bucket in its set, or -1. Without a branch for each way, so that the compiler compares all at once."""
    cdef int way, found = -1
    for way in range(WAYS):
        found = way if buckets.keys[way] == key else found
    return found


cdef inline int _nearest_to_full(const BucketSet* buckets) noexcept nogil:
    cdef int way, least = 0
    for way in range(1, WAYS):
        if buckets.full_at[way] < buckets.full_at[least]:
            least = way
    return least


@cython.final
@cython.no_gc
cdef class Tally:

    def __cinit__(self, int64_t entries_max):
        if not 1 <= entries_max <= CLIENTS_MAX:
            raise ValueError(f"a tally has 1..{<int>CLIENTS_MAX} entries, not {entries_max}")
        self._entries_max = <uint32_t>entries_max
        self._places_count = 2 * entries_max
        self._places = <Count*>calloc(self._places_count, sizeof(Count))
        if self._places == NULL:
            raise MemoryError(f"no memory for a tally of {entries_max} clients")

    def __dealloc__(self):
        free(self._places)

    def __init__(self, entries_max):
        pass

    cdef int enter(self, uint64_t client_key, int limit) noexcept nogil:
        cdef uint64_t place = self._find(client_key)
        cdef Count* found = &self._places[place]
        if <int>found.count >= limit or (found.count == 0 and self._entries == self._entries_max):
            self.refusals += 1
            return -1
        if found.count == 0:
            found.key = client_key
            self._entries += 1
        found.count += 1
        return <int>found.count

    cdef int leave(self, uint64_t client_key) noexcept nogil:
        cdef uint64_t place = self._find(client_key)
        cdef Count* found = &self._places[place]
        if found.count == 0:
            return -1
        found.count -= 1
        if found.count == 0:
            self._remove(place)
            return 0
        return <int>found.count

    cdef uint64_t _find(self, uint64_t client_key) noexcept nogil:
        """The client's place, or the empty one where it belongs."""
        cdef uint64_t place = _scaled(client_key, self._places_count)
        while self._places[place].count != 0 and self._places[place].key != client_key:
            place += 1
            if place == self._places_count:
                place = 0
        return place

    cdef void _remove(self, uint64_t place) noexcept nogil:
        """Empty a place and move later ones of its run back, so that no probe stops short of its key."""
        cdef uint64_t gap = place, reach, distance
        self._entries -= 1
        while True:
            place += 1
            if place == self._places_count:
                place = 0
            if self._places[place].count == 0:
                break
            # How far the key has come from its home, and how far the gap lies behind it, both around the table's end.
            reach = (place - _scaled(self._places[place].key, self._places_count)) + self._places_count
            distance = (place - gap) + self._places_count
            if reach % self._places_count >= distance % self._places_count:
                self._places[gap] = self._places[place]
                gap = place
        self._places[gap].count = 0

    def add(self, uint64_t client_key, int limit):
        return self.enter(client_key, limit)

    def remove(self, uint64_t client_key):
        return self.leave(client_key)

    @property
    def bytes(self):
        return self._places_count * sizeof(Count)

    def __len__(self):
        return self._entries
