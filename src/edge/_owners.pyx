"""Ends what L1 holds of shards that do not own it any more, in slices, so that nothing holds the event loop.

    small of the links ─▶ main of the links ─▶ small of the absences ─▶ main of the absences

An entry that is ended is no answer any more; it stays as what may be served when nobody can be asked, until the next
look-up of its key takes its place.

L1 changes between two slices. A position in a log counts bytes from the log's beginning, so it stays right while the
tail moves. No entry is missed:
- what moves from `small` to `main` before it was looked at is found there, for `main` comes later;
- what the tail of `main` passes before it was looked at, and writes again at the head, is found there: then the round
  goes on up to where the head is by now;
- what comes in meanwhile comes from its owner: the resolver sees to that.
"""

cimport cython
from libc.stdint cimport uint64_t

from edge._cache cimport IS_DEAD, IS_PADDING, Cache, Entry, Log, entry_key, entry_size
from edge._front cimport ORIGIN, SHARDS_MAX, Front
from edge._ring cimport Ring, xxh64_of

cdef enum:
    ROUNDS = 4


@cython.final
cdef class OwnerWalk:

    def __init__(self, Front front not None, Ring ring not None, tuple numbers not None):
        if len(numbers) > SHARDS_MAX or len(numbers) < len(ring.shard_ids):
            raise ValueError(f"{len(numbers)} numbers for a ring of {len(ring.shard_ids)} shards")
        self._front = front
        self._ring = ring
        for place, number in enumerate(numbers):
            self._numbers[<int>place] = number
        self._begin(0)

    cdef Cache _cache_of(self, int round):
        return self._front.links if round < 2 else self._front.absences

    cdef Log* _log_of(self, int round) noexcept:
        cdef Cache cache = self._cache_of(round)
        return &cache._small if round % 2 == 0 else &cache._main

    cdef int _begin(self, int round) noexcept:
        cdef Log* log
        if round == ROUNDS:
            self.is_over = True
            return 0
        log = self._log_of(round)
        self._round = round
        self._at = log.passed
        self._end = log.passed + log.used
        return 0

    cdef bint _is_misplaced(self, Entry* entry) noexcept:
        """Whether it could be answered, and its shard does not own its key."""
        cdef uint64_t key_hash
        if entry.shard == ORIGIN or self._front.now_ms >= entry.deadline_ms:
            return False
        if self._front._generations[entry.shard] != entry.generation:
            return False
        key_hash = xxh64_of(entry_key(entry), entry.key_size, 0)
        # In bounds: the constructor has a number for each shard of the ring.
        return self._numbers[self._ring.shard_of(key_hash)] != entry.shard

    # ------------------------------------------------------------------------------------------------ public API

    def take(self, int entries_max):
        cdef Cache cache = self._cache_of(self._round)
        cdef Log* log = self._log_of(self._round)
        cdef Entry* entry
        cdef int ended = 0
        if self.is_over:
            return 0
        self._front.read_clock()
        if self._at < log.passed:
            self._at = log.passed
            self._end = log.passed + log.used
        while entries_max > 0 and self._at < self._end:
            entry = cache.entry_from(log, self._at)
            if not entry.flags & (IS_DEAD | IS_PADDING) and self._is_misplaced(entry):
                entry.deadline_ms = 0
                ended += 1
            self._at += entry_size(entry)
            entries_max -= 1
        if self._at >= self._end:
            self._begin(self._round + 1)
        return ended

    @property
    def left_bytes(self):
        """Bytes of the logs that are still to be looked at."""
        cdef uint64_t left = 0 if self.is_over else self._end - self._at
        for round in range(self._round + 1, ROUNDS):
            left += self._log_of(round).used
        return 0 if self.is_over else left
