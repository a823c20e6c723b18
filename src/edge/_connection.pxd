"""One client's connection apart from how its bytes move. Cimports the leaves."""

from libc.stdint cimport uint32_t, uint64_t

from edge._cache cimport Entry
from edge._client cimport Address
from edge._clicklog cimport Visit
from edge._front cimport PREFIX_BYTES_MAX, Answer
from edge._host cimport HOST_BYTES_MAX
from edge._http cimport Head
from edge._roster cimport Member


cdef class Connection(Member):
    cdef uint64_t _asker_key            # of whoever sent the request that waits: differs behind a proxy
    cdef uint32_t _requests             # so far
    cdef bint _is_tls
    cdef bint _is_waiting               # for the resolver's answer to a request
    cdef bint _is_closing               # the last answer was written
    cdef bint _is_unsent                # the client does not take its bytes
    cdef bint _is_ended                 # the client will send no more
    cdef bint _is_head                  # of the request that is answered
    cdef int _ending                    # likewise
    cdef bint _is_more_due              # bytes of the client that nobody will read may be under way
    cdef Visit* _visit                  # owned: of the request that waits; NULL if clicks are not recorded
    cdef tuple _logged                  # what the log says of the request that is answered; None unless it does
    cdef char* _carry                   # owned: bytes of requests that are not answered yet
    cdef size_t _carry_size
    cdef size_t _scanned                # bytes of the carry that are known to be no whole head
    cdef int _domain                    # of the host below
    cdef uint64_t _hosts_revision       # of the table in which it was looked up
    cdef int _host_size                 # bytes; -1 before the first request
    cdef int _prefix_size               # bytes
    cdef char[HOST_BYTES_MAX] _host     # of the last request; the next one nearly always has the same
    cdef char[PREFIX_BYTES_MAX] _prefix  # "<domain-id>:"

    # What those do that move the bytes.
    cdef int _send(self, const char* data, size_t size) except -1
    cdef int _watch(self) except -1             # bring what the connection waits for in line with its state

    cdef bint _can_serve(self) noexcept
    cdef int _serve(self, const char* data, size_t size) except -1
    cdef int _take_proxy_header(self, const char* data, size_t size) except -2
    cdef int _answer_head(self, Head* head, const char* data, size_t size) except -1
    cdef int _answer_path(self, Head* head, const char* data, size_t size) except -1
    cdef int _answer_entry(self, Entry* entry, const Visit* visit) except -1
    cdef int _wait_for(self, const char* key, size_t key_size, uint64_t key_hash, const Visit* visit) except -1
    cdef int _tail(self) noexcept
    cdef int _describe(self, const Head* head, const char* data, size_t size, Visit* visit) noexcept
    cdef int _find_asker(self, const char* data, size_t size, Address* asker) noexcept
    cdef bint _has_budget(self, const char* data, size_t size) noexcept
    cdef int _answer_status(self, int status, int tier) except -1
    cdef int _note_request(self, Head* head) except -1
    cdef int _log(self, int status) except -1
    cdef int _refuse(self, int status) except -1
    cdef int _select_domain(self, Head* head) except -1
    cdef int _keep(self, const char* data, size_t size) except -1
    cdef int _enter_phase(self, bint was_answered) except -1
    cdef int _flush(self) except -1
    cdef int _take_answer(self, Answer answer, int tier) except -1
    cdef int _write_answer(self, Answer answer, int tier) except -1
