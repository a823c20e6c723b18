"""What each click of a batch was, by the enricher's word.

    texts ── once each ──▶ agent, referrer, campaign ─┐
    addresses ── a memo ──▶ place ────────────────────┼─▶ numbers of values in rows ── used ones, sorted ──▶ ranks in rows
    links ── once each ──▶ campaign of the target ────┘

The enricher is Python and is asked for what has not been asked for before, so what a click costs here is a few loads.
A visitor is SipHash under the day's salt of (hash of the User-Agent, address); the former is made once per text.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from control.clicks._clicks cimport HEAD, HUMAN, PREVIEW, Row
from control.clicks._document cimport CLICK_DIMENSIONS, VALUE_BYTES_MAX
from control.clicks._grouping cimport Grouping
from control.clicks._items cimport ADDRESS_BYTES_MAX, FLAG_HEAD, FLAG_NO_AGENT, FLAG_OPTED_OUT, Click
from control.clicks._pause cimport let_others_run
from control.clicks._siphash cimport siphash_of
from control.clicks._ranking cimport Ranking

from control.clicks._document import FoldError

cdef enum:
    HAS_AGENT = 1
    HAS_REFERRER = 2
    HAS_CAMPAIGN = 4
    # Dimensions, see DIMENSION_NAMES.
    COUNTRY = 0
    CITY = 1
    BROWSER = 2
    OS = 3
    DEVICE = 4
    REFERRER = 5
    CAMPAIGN = 6                # and the two behind it
    PLACES_BITS = 15            # addresses remembered: 1 MB, about what the next cache holds
    PAUSE_CLICKS = 1024         # a tenth of a millisecond where nothing is asked for

# "visitors" in ASCII: the half of the key that is no secret.
cdef uint64_t VISITOR_KEY = <uint64_t>0x73726f7469736976


cdef struct TextFacts:
    uint64_t agent_hash
    uint32_t browser, os, device, referrer  # numbers of values
    uint32_t[3] campaign
    uint8_t kind                            # HUMAN …
    uint8_t known                           # HAS_*: for which of them the enricher was asked


cdef struct Place:
    uint8_t[ADDRESS_BYTES_MAX] address
    uint32_t country, city
    uint8_t size                            # of the address; 0: the slot is free


cdef class _Enriching:
    """One run over a batch."""
    cdef Clicks clicks
    cdef object enricher
    cdef TextFacts* texts                   # owned; by number
    cdef Place* places                      # owned; each address has one slot, and the last one keeps it

    def __cinit__(self, Clicks clicks, enricher):
        self.clicks = clicks
        self.enricher = enricher
        self.texts = <TextFacts*>calloc(len(clicks.texts), sizeof(TextFacts))
        self.places = <Place*>calloc(1 << PLACES_BITS, sizeof(Place))
        if self.texts == NULL or self.places == NULL:
            raise MemoryError(f"no memory to enrich {clicks.count} clicks")

    def __dealloc__(self):
        free(self.texts)
        free(self.places)

    cdef TextFacts* agent(self, uint32_t number) except NULL:
        cdef TextFacts* facts = &self.texts[number]
        cdef bytes text
        if not facts.known & HAS_AGENT:
            text = self.clicks.texts[number]
            facts.browser, facts.os, facts.device, facts.kind = self.enricher.agent(text)
            if facts.kind > PREVIEW:
                raise FoldError("value", f"the enricher's class of {text!r} is {facts.kind}, not 0..2")
            facts.agent_hash = siphash_of(text, len(text), 0, 0)
            facts.known |= HAS_AGENT
        return facts

    cdef TextFacts* referrer(self, uint32_t number) except NULL:
        cdef TextFacts* facts = &self.texts[number]
        if number > 0 and not facts.known & HAS_REFERRER:
            facts.referrer = self.enricher.referrer(self.clicks.texts[number])
            facts.known |= HAS_REFERRER
        return facts

    cdef TextFacts* campaign(self, uint32_t number) except NULL:
        cdef TextFacts* facts = &self.texts[number]
        if number > 0 and not facts.known & HAS_CAMPAIGN:
            facts.campaign[0], facts.campaign[1], facts.campaign[2] = self.enricher.campaign(self.clicks.texts[number])
            facts.known |= HAS_CAMPAIGN
        return facts

    cdef Place* place(self, const Click* click) except NULL:
        """Found, or put in place of whatever had the slot: what the address's sender chooses cannot make it slow."""
        cdef uint64_t[2] halves
        cdef Place* place
        memcpy(halves, click.address, ADDRESS_BYTES_MAX)
        # Multiplicative hashing; the multipliers are odd and arbitrary (the golden ratio and pi).
        halves[0] = halves[0] * <uint64_t>0x9E3779B97F4A7C15 ^ halves[1] * <uint64_t>0x243F6A8885A308D3
        place = &self.places[(halves[0] ^ halves[0] >> 32) * <uint64_t>0x9E3779B97F4A7C15 >> (64 - PLACES_BITS)]
        if place.size != click.address_size or memcmp(place.address, click.address, ADDRESS_BYTES_MAX) != 0:
            place.size = 0
            place.country, place.city = self.enricher.place(click.address[: click.address_size])
            memcpy(place.address, click.address, ADDRESS_BYTES_MAX)
            place.size = click.address_size
        return place


cdef int _fill_row(_Enriching run, const Click* click, Row* row, bint has_salt, uint64_t salt) except -1:
    cdef TextFacts* agent = run.agent(click.agent)
    cdef TextFacts* campaign
    cdef Place* place
    memset(row.values, 0, sizeof(row.values))
    row.code = click.code
    if click.flags & FLAG_HEAD:
        row.kind = HEAD
    elif click.flags & (FLAG_OPTED_OUT | FLAG_NO_AGENT):
        row.kind = HUMAN                        # a missing User-Agent is a bot's only where one would be recorded
    else:
        row.kind = agent.kind
    row.has_visitor = has_salt and click.address_size > 0
    if row.has_visitor:
        row.visitor = _hash_visitor(agent.agent_hash, click, salt)
    if click.link_id == 0:
        return 0
    row.values[BROWSER] = agent.browser
    row.values[OS] = agent.os
    row.values[DEVICE] = agent.device
    row.values[REFERRER] = run.referrer(click.referrer).referrer
    campaign = run.campaign(click.query)
    memcpy(&row.values[CAMPAIGN], campaign.campaign, sizeof(campaign.campaign))
    if click.address_size > 0:
        place = run.place(click)
        row.values[COUNTRY] = place.country
        row.values[CITY] = place.city
    return 0


cdef uint64_t _hash_visitor(uint64_t agent_hash, const Click* click, uint64_t salt) noexcept nogil:
    cdef uint8_t[8 + ADDRESS_BYTES_MAX] visitor
    memcpy(visitor, &agent_hash, 8)
    memcpy(visitor + 8, click.address, ADDRESS_BYTES_MAX)
    return siphash_of(visitor, 8 + click.address_size, salt, VISITOR_KEY)


cdef int _fill_rows(_Enriching run, object salts) except -1:
    cdef Clicks clicks = run.clicks
    cdef int64_t day = -1
    cdef uint64_t salt = 0
    cdef bint has_salt = False
    cdef uint32_t i
    for i in range(clicks.count):
        if clicks.rows[i].day != day:
            day = clicks.rows[i].day
            found = salts.get(day)
            has_salt = found is not None
            salt = <uint64_t>(found & 0xFFFFFFFFFFFFFFFF) if has_salt else 0     # a bigint may be negative
        _fill_row(run, &clicks.clicks[i], &clicks.rows[i], has_salt, salt)
        if i % PAUSE_CLICKS == 0:
            let_others_run()
    return 0


cdef list _fill_links(Clicks clicks, object facts):
    """The campaign of the target where the request had none; (index, tags) of the link days that have tags."""
    cdef Grouping link_days = clicks.link_days()
    cdef uint32_t group, at
    cdef uint32_t[3] campaign
    cdef Row* row
    cdef list tags = []
    for group in range(link_days.count):
        found = facts.get(link_days.members[link_days.starts[group]].subject)
        memset(campaign, 0, sizeof(campaign))
        if found is not None:
            campaign[0], campaign[1], campaign[2] = found.campaign
            if found.tags:
                tags.append((group, found.tags))
        for at in range(link_days.starts[group], link_days.starts[group + 1]):
            row = &clicks.rows[link_days.members[at].click]
            row.link_day = group
            if not (row.values[CAMPAIGN] | row.values[CAMPAIGN + 1] | row.values[CAMPAIGN + 2]):
                memcpy(&row.values[CAMPAIGN], campaign, sizeof(campaign))
    return tags


cdef int _rank_values(Clicks clicks, list values) except -1:
    """In place of the enricher's numbers, the ranks of those values that the batch has."""
    cdef size_t known = len(values), i
    cdef uint32_t* ranks = <uint32_t*>calloc(known or 1, sizeof(uint32_t))
    cdef uint32_t* used_ranks = NULL
    cdef list used = []
    cdef int dimension
    try:
        if ranks == NULL:
            raise MemoryError(f"no memory for {known} values")
        for i in range(clicks.count):
            for dimension in range(CLICK_DIMENSIONS):
                if clicks.rows[i].values[dimension] >= known:
                    raise FoldError("value", f"the enricher knows no value {clicks.rows[i].values[dimension]}")
                if ranks[clicks.rows[i].values[dimension]] == 0:
                    used.append(values[clicks.rows[i].values[dimension]])
                    ranks[clicks.rows[i].values[dimension]] = <uint32_t>len(used)   # its place, from 1 on
        used_ranks = <uint32_t*>malloc((len(used) or 1) * sizeof(uint32_t))
        if used_ranks == NULL:
            raise MemoryError(f"no memory for {len(used)} values")
        clicks.values = Ranking.of(used, used_ranks)
        for i in range(clicks.count):
            for dimension in range(CLICK_DIMENSIONS):
                clicks.rows[i].values[dimension] = used_ranks[ranks[clicks.rows[i].values[dimension]] - 1]
    finally:
        free(ranks)
        free(used_ranks)
    return 0


cdef bytes _code_value(bytes code):
    """A code as a value: UTF-8 without NUL, which an unknown code need not be; U+FFFD stands for what is not."""
    if code.isascii() and b"\0" not in code:
        return code
    text = code.decode("utf-8", "replace").replace("\0", "\ufffd")
    return text.encode()[:VALUE_BYTES_MAX].decode("utf-8", "ignore").encode()


cdef int _rank_codes(Clicks clicks) except -1:
    cdef list values = [_code_value(code) for code in clicks.code_texts]
    cdef uint32_t* ranks = <uint32_t*>malloc(len(values) * sizeof(uint32_t))
    cdef uint32_t i
    if ranks == NULL:
        raise MemoryError(f"no memory for {len(values)} codes")
    try:
        clicks.codes = Ranking.of(values, ranks)
        for i in range(clicks.count):
            clicks.rows[i].code = ranks[clicks.rows[i].code]
    finally:
        free(ranks)
    return 0


cdef list enrich_clicks(Clicks clicks, object enricher, object facts, object salts):
    cdef list tags
    _fill_rows(_Enriching(clicks, enricher), salts)
    tags = _fill_links(clicks, facts)
    # The list is read after all that may append to it.
    _rank_values(clicks, enricher.values)
    _rank_codes(clicks)
    return tags
