/* Skipping over the bytes of a request head: each function gives the first byte in [at, end) that is not of its kind,
 * or end. Sixteen bytes a step where SSE2 is there (it is part of x86-64), for names and values are nearly all of a
 * head. POINTSMAN_PORTABLE leaves SSE2 out, so that tests reach both ways.
 *
 * Nothing at or behind end is read. What is left below sixteen bytes is looked at together with bytes before at: those
 * of [end - 16, at) must be readable where a function says so. */

#ifndef POINTSMAN_SCAN_H
#define POINTSMAN_SCAN_H

#include <stdint.h>
#include <string.h>

static const uint8_t SCAN_NAMES[256] = {['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['-'] = 1};

static inline int scan_is_name(char byte)
{
    return SCAN_NAMES[(uint8_t)byte];
}

static inline int scan_is_text(char byte)
{
    return ((unsigned char)byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

static inline int scan_is_target(char byte)
{
    return byte > 0x20 && byte < 0x7f && byte != '#';
}

#if defined(__SSE2__) && !defined(POINTSMAN_PORTABLE)
#include <emmintrin.h>

#define SCAN_IS(bytes, byte) _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte))
/* Unsigned; min is the only unsigned comparison that SSE2 has. */
#define SCAN_AT_MOST(bytes, byte) _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(byte)), bytes)

/* Bit n: byte n is not of the kind. */
static inline unsigned scan_no_text(const char *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)at);
    __m128i is_control = _mm_andnot_si128(SCAN_IS(bytes, '\t'), SCAN_AT_MOST(bytes, 0x1f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(is_control, SCAN_IS(bytes, 0x7f)));
}

static inline unsigned scan_no_name(const char *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)at);
    __m128i letters = _mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i digits = _mm_sub_epi8(bytes, _mm_set1_epi8('0'));
    __m128i is_alphanumeric = _mm_or_si128(SCAN_AT_MOST(letters, 25), SCAN_AT_MOST(digits, 9));
    return 0xffffu ^ (unsigned)_mm_movemask_epi8(_mm_or_si128(is_alphanumeric, SCAN_IS(bytes, '-')));
}

static inline unsigned scan_no_target(const char *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)at);
    /* Signed: what is above 0x7f counts as below 0x21. */
    __m128i is_visible = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x20));
    __m128i is_other = _mm_or_si128(SCAN_IS(bytes, 0x7f), SCAN_IS(bytes, '#'));
    return 0xffffu ^ (unsigned)_mm_movemask_epi8(_mm_andnot_si128(is_other, is_visible));
}

#define SCAN_WIDE(others_at) \
    for (; end - at >= 16; at += 16) { \
        unsigned others = others_at(at); \
        if (others) \
            return at + __builtin_ctz(others); \
    }
#define SCAN_REST(others_at, is_one) \
    if (at < end) { \
        unsigned others = others_at(end - 16) >> (16 - (end - at)); \
        return others ? at + __builtin_ctz(others) : end; \
    }
#else

/* Whether one of eight bytes is a control (errs towards yes). */
static inline int scan_has_control(const char *at)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t bytes, deletes;
    memcpy(&bytes, at, 8);
    deletes = bytes ^ (ones * 0x7f);
    return ((((bytes - ones * 0x20) & ~bytes) | ((deletes - ones) & ~deletes)) & highs) != 0;
}

#define SCAN_WIDE(others_at)
#define SCAN_REST(others_at, is_one) \
    while (at < end && is_one(*at)) \
        at++;
#endif

/* Of a field value: all but control bytes; tab is none here (RFC 9110 section 5.5). The 16 bytes before at are read. */
static inline const char *scan_text(const char *at, const char *end)
{
#ifdef SCAN_IS
    SCAN_WIDE(scan_no_text)
#else
    while (end - at >= 8 && !scan_has_control(at))
        at += 8;
#endif
    SCAN_REST(scan_no_text, scan_is_text)
    return at;
}

/* Of nearly all field names: letters, digits and hyphens; the caller looks whether the byte found is a token's too. The
 * 16 bytes before at are read. */
static inline const char *scan_name(const char *at, const char *end)
{
    SCAN_WIDE(scan_no_name)
    SCAN_REST(scan_no_name, scan_is_name)
    return at;
}

/* Of a request target: visible ASCII but "#", for a fragment is never sent (RFC 9112 section 3.2). */
static inline const char *scan_target(const char *at, const char *end)
{
    SCAN_WIDE(scan_no_target)
    while (at < end && scan_is_target(*at))
        at++;
    return at;
}

#undef SCAN_WIDE
#undef SCAN_REST
#endif
