"""The consistent-hash ring with weighted virtual nodes.

D. Karger et al., "Consistent hashing and random trees", STOC 1997. A shard's points are the XXH64 of `<name>#<n>`.

Invariants of a ring: points ascend; equal points are ordered by the shards' names, so that the order of declaration does
not matter; a ring never changes once built. Lookup is a table of equal-width buckets, about one a point, then a walk of
about one step: constant time, and fewer cache misses than a binary search.

It is built in time proportional to its points: they are put into regions, of which each is small enough for the cache,
and there into their buckets, where the few that are there already are kept in order. No Python object is touched, so a
thread can build a ring while the loop goes on.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from wire.topology import POINTS_MAX, points_of

cdef enum:
    SHARDS_MAX = 65535          # an owner is 16 bits; wire.topology allows far fewer
    NAME_BYTES_MAX = 255        # wire.topology's places are shorter
    NUMBER_BYTES_MAX = 11       # "#" and ten digits
    REGION_BITS = 12            # so that a region of the largest ring is within a core's cache
    REGIONS_MAX = 1 << REGION_BITS

cdef uint64_t LAST_HASH = <uint64_t>0xFFFFFFFFFFFFFFFF
cdef double HASHES = 2.0**64


cdef inline size_t _put_number(unsigned char* at, uint32_t number) noexcept nogil:
    """Write "#" and the number in decimal; how many bytes that are."""
    cdef unsigned char[NUMBER_BYTES_MAX] digits
    cdef size_t count = 0, i
    while number >= 10:
        digits[count] = c"0" + number % 10
        number //= 10
        count += 1
    digits[count] = c"0" + number
    count += 1
    at[0] = c"#"
    for i in range(count):
        at[1 + i] = digits[count - 1 - i]
    return 1 + count


cdef inline uint64_t _position(unsigned char* name, uint32_t name_size, uint32_t n) noexcept nogil:
    """Where the n-th point of the shard is. Behind the name are NUMBER_BYTES_MAX free bytes."""
    return xxh64_of(name, name_size + _put_number(name + name_size, n), 0)


cdef list _encoded(shards):
    """The names as bytes; raises ValueError for shards that make no ring."""
    names = [name for name, weight in shards if weight > 0]
    if not 0 < len(names) or len(shards) > SHARDS_MAX or len(set(names)) != len(names):
        raise ValueError(f"a ring takes 1..{SHARDS_MAX} shards with names of their own, not {names!r}")
    if any(weight < 0 for _, weight in shards):
        raise ValueError("no weight of a shard is negative")
    encoded = [name.encode() for name, _ in shards]
    if max(map(len, encoded)) > NAME_BYTES_MAX:
        raise ValueError(f"names of shards have at most {NAME_BYTES_MAX} bytes")
    return encoded


cdef Member* _members(list names, list points) except NULL:
    """To be freed by the caller; the names are those of `names`."""
    cdef Member* members = <Member*>malloc(len(names) * sizeof(Member))
    cdef Py_ssize_t i
    if members == NULL:
        raise MemoryError(f"no memory for {len(names)} shards")
    ranks = {name: rank for rank, name in enumerate(sorted(names))}
    for i in range(len(names)):
        members[i].name = <const unsigned char*>PyBytes_AS_STRING(names[i])
        members[i].name_size = PyBytes_GET_SIZE(names[i])
        members[i].points = points[i]
        members[i].rank = ranks[names[i]]
    return members


# ---------------------------------------------------------------------------------------------------- public API


def xxh64(const unsigned char[::1] data not None, uint64_t seed=0):
    if data.shape[0] == 0:
        return xxh64_of(b"", 0, seed)
    return xxh64_of(&data[0], data.shape[0], seed)


@cython.final
@cython.no_gc
cdef class Ring:

    def __cinit__(self, shards, uint32_t virtual_nodes):
        cdef Member* members
        cdef bint is_built
        cdef size_t count = len(shards)
        cdef list names = _encoded(shards)
        if virtual_nodes == 0:
            raise ValueError("a ring has at least 1 virtual node")
        points = [points_of(weight, virtual_nodes) for _, weight in shards]
        if sum(points) > POINTS_MAX:
            raise ValueError(f"{sum(points)} points on the ring; at most {POINTS_MAX} are built")
        self.shard_ids = tuple(name for name, _ in shards)
        self._allocate(sum(points))
        members = _members(names, points)
        with nogil:
            is_built = self._build(members, count)
        free(members)
        if not is_built:
            raise MemoryError(f"no memory to sort {self._points_count} points")

    def __dealloc__(self):
        free(self._points)
        free(self._owners)
        free(self._starts)

    def __init__(self, shards, virtual_nodes):
        pass

    cdef int _allocate(self, uint32_t points) except -1:
        self._points_count = points
        self._shift = 63        # not 64, which were undefined in C: one point has two buckets
        while (<uint64_t>1 << (64 - self._shift)) < points:
            self._shift -= 1
        self._points = <uint64_t*>malloc((<size_t>points + 1) * sizeof(uint64_t))
        self._owners = <uint16_t*>malloc((<size_t>points + 1) * sizeof(uint16_t))
        self._starts = <uint32_t*>malloc(self._buckets() * sizeof(uint32_t))
        if self._points == NULL or self._owners == NULL or self._starts == NULL:
            raise MemoryError(f"no memory for a ring of {points} points")
        return 0

    cdef size_t _buckets(self) noexcept nogil:
        return <size_t>1 << (64 - self._shift)

    cdef bint _build(self, const Member* members, size_t count) noexcept nogil:
        """Fill the tables; False if there is no memory."""
        cdef uint32_t[REGIONS_MAX + 1] ends
        cdef uint32_t before = 0, largest = 0
        cdef size_t i
        cdef Point* points
        memset(ends, 0, sizeof(ends))
        for i in range(count):
            self._count(&members[i], ends)
        for i in range(<size_t>REGIONS_MAX):
            largest = max(largest, ends[i])
            before += ends[i]
            ends[i] = before
        ends[REGIONS_MAX] = before
        points = <Point*>malloc(largest * sizeof(Point))
        if points == NULL:
            return False
        for i in range(count):
            self._scatter(&members[i], <uint16_t>i, ends)
        for i in range(self._buckets() >> (self._region_shift() - self._shift)):
            self._sort(i, ends[i], ends[i + 1], members, points)
        free(points)
        # A hash above the last point belongs to the first one: the sentinel carries its owner around the wrap.
        self._points[self._points_count] = LAST_HASH
        self._owners[self._points_count] = self._owners[0]
        return True

    cdef int _region_shift(self) noexcept nogil:
        return max(self._shift, 64 - REGION_BITS)

    cdef void _count(self, const Member* member, uint32_t* counts) noexcept nogil:
        """How many points of the shard are in each region."""
        cdef unsigned char[NAME_BYTES_MAX + NUMBER_BYTES_MAX] name
        cdef int shift = self._region_shift()
        cdef uint32_t n
        memcpy(name, member.name, member.name_size)
        for n in range(member.points):
            counts[_position(name, member.name_size, n) >> shift] += 1

    cdef void _scatter(self, const Member* member, uint16_t shard, uint32_t* ends) noexcept nogil:
        """Put the shard's points into their regions, from the end; an end thereby becomes a beginning."""
        cdef unsigned char[NAME_BYTES_MAX + NUMBER_BYTES_MAX] name
        cdef int shift = self._region_shift()
        cdef uint64_t position
        cdef uint32_t n, at
        memcpy(name, member.name, member.name_size)
        for n in range(member.points):
            position = _position(name, member.name_size, n)
            ends[position >> shift] -= 1
            at = ends[position >> shift]
            self._points[at] = position
            self._owners[at] = shard

    cdef void _sort(
        self, size_t region, uint32_t begin, uint32_t end, const Member* members, Point* points
    ) noexcept nogil:
        """Order the points of a region, and fill its buckets; `points` has room for them."""
        cdef uint32_t* starts = self._starts + (region << (self._region_shift() - self._shift))
        cdef uint32_t before = begin, i
        memset(starts, 0, sizeof(uint32_t) << (self._region_shift() - self._shift))
        for i in range(end - begin):
            points[i] = Point(self._points[begin + i], self._owners[begin + i])
            self._points[begin + i] = LAST_HASH
            self._starts[points[i].position >> self._shift] += 1
        # Where a bucket ends; each point that is put into it takes one off, so that in the end it is where it starts.
        for i in range(<uint32_t>1 << (self._region_shift() - self._shift)):
            before += starts[i]
            starts[i] = before
        for i in range(end - begin):
            self._insert(points[i].position, members, points[i].shard)

    cdef void _insert(self, uint64_t position, const Member* members, uint16_t shard) noexcept nogil:
        """Take the place before the bucket's points, and let those pass that come before this one.

        Behind the bucket's last point is a higher one, of a bucket or region behind, or a place not taken yet, which
        reads as 2^64-1.
        """
        cdef uint64_t bucket = position >> self._shift
        cdef uint64_t other
        cdef uint32_t at
        self._starts[bucket] -= 1
        at = self._starts[bucket]
        while at + 1 < self._points_count:
            other = self._points[at + 1]
            if other > position or (other == position and members[self._owners[at + 1]].rank > members[shard].rank):
                break
            self._points[at] = other
            self._owners[at] = self._owners[at + 1]
            at += 1
        self._points[at] = position
        self._owners[at] = shard

    def shard(self, uint64_t key_hash):
        return self.shard_of(key_hash)

    def moved(self, Ring other not None):
        cdef list arcs = []
        cdef uint64_t begin = 0, first = 0, last
        cdef uint32_t mine = 0, its = 0
        cdef int source = -1, target = -1   # of the arc that began at `begin`
        while True:
            # From `first` to the next point of either ring nobody's owner changes.
            last = min(self._points[mine], other._points[its])
            if self._owners[mine] != source or other._owners[its] != target:
                if source != target:
                    arcs.append((begin, first - 1, source, target))
                begin, source, target = first, self._owners[mine], other._owners[its]
            if last == LAST_HASH:
                break
            first = last + 1
            while self._points[mine] < first:   # both end at their sentinels, which are no less than any hash
                mine += 1
            while other._points[its] < first:
                its += 1
        if source != target:
            arcs.append((begin, last, source, target))
        return arcs

    def shares(self):
        cdef list shares = [0.0] * len(self.shard_ids)
        cdef uint64_t first = 0
        cdef uint32_t at
        cdef double* widths = <double*>calloc(len(shares), sizeof(double))
        if widths == NULL:
            raise MemoryError(f"no memory for the shares of {len(shares)} shards")
        for at in range(self._points_count + 1):    # the sentinel ends what lies around the wrap
            widths[self._owners[at]] += <double>(self._points[at] - first + 1)
            first = self._points[at] + 1
        for at in range(len(shares)):
            shares[at] = widths[at] / HASHES
        free(widths)
        return shares

    def __len__(self):
        return self._points_count

    def __sizeof__(self):
        cdef size_t points = (<size_t>self._points_count + 1) * (sizeof(uint64_t) + sizeof(uint16_t))
        return object.__sizeof__(self) + points + self._buckets() * sizeof(uint32_t)
