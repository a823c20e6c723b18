"""The compiled decoder of frames beside the format's definition, on whole, cut and damaged bodies."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control.clicks._fold import Batch, FoldError
from tests.control.clicks.clicks import random_clicks
from tests.control.clicks.folding import enriched
from tests.control.clicks.plain_fold import PlainEnricher
from wire import click
from wire.click import Click, Flag
from wire.errors import FormatError

KINDS = ("human", "bot", "preview", "head")


def _verdict(body: bytes) -> str | tuple[int, int, int]:
    """What the definition says: an error's code, or how many clicks, unknown codes and HEAD requests there are."""
    try:
        clicks = click.decode(body)
    except FormatError as error:
        return error.code
    unknown = sum(bool(each.flags & Flag.UNKNOWN_CODE) for each in clicks)
    heads = sum(each.flags & (Flag.HEAD | Flag.UNKNOWN_CODE) == Flag.HEAD for each in clicks)
    return len(clicks) - unknown, unknown, heads


def _compiled_verdict(body: bytes) -> str | tuple[int, int, int]:
    batch = Batch(4000)
    try:
        added = batch.add(body)
    except FoldError as error:
        assert len(batch) == 0
        return error.code
    assert len(batch) == added.clicks + added.unknown
    return added.clicks, added.unknown, added.heads


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 4))
def test_random_bytes_have_the_same_verdict(body: bytes, items: int) -> None:
    """As they are, and behind items that are right."""
    for tried in (body, click.encode(random_clicks(random.Random(items), items)) + body):
        assert _compiled_verdict(tried) == _verdict(tried)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 4))
@example(0, 1, 1)
def test_a_damaged_body_has_the_same_verdict(seed: int, count: int, damages: int) -> None:
    """Some bytes are others, a piece is missing, or one is there twice."""
    choose = random.Random(seed)
    body = bytearray(click.encode(random_clicks(choose, count)))
    for _ in range(damages):
        at = choose.randrange(len(body) + 1)
        end = min(len(body), at + choose.choice((1, 2, 4, 4, 12, 40)))
        damage = choose.randrange(5)
        if damage == 0:
            del body[at:end]
        elif damage == 1:
            body[at:at] = body[at:end]
        else:
            body[at:end] = bytes(choose.choice((0, 1, 2, 255, choose.randrange(256))) for _ in range(end - at))
    assert _compiled_verdict(bytes(body)) == _verdict(bytes(body))


def test_every_cut_of_a_body_has_the_same_verdict() -> None:
    """At each byte."""
    body = click.encode(random_clicks(random.Random(3), 8))
    for size in range(len(body)):
        assert _compiled_verdict(body[:size]) == _verdict(body[:size])


def test_every_field_at_its_limits_has_the_same_verdict() -> None:
    """Each byte of an item of a click and of a text, with each value."""
    body = click.encode(
        [
            Click(time_ms=1, link_id=1, domain_id=1, status=302, user_agent=b"abcde", address=bytes(4)),
            Click(time_ms=1, link_id=0, domain_id=1, status=404, code=b"ab", flags=Flag.UNKNOWN_CODE),
        ]
    )
    for at in range(len(body)):
        for value in range(256):
            tried = body[:at] + bytes((value,)) + body[at + 1 :]
            assert _compiled_verdict(tried) == _verdict(tried), (at, value)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 100))
def test_clicks_come_out_as_they_went_in(seed: int, count: int) -> None:
    """Seen in the samples, which have nearly all of a click."""
    clicks = random_clicks(random.Random(seed), count)
    samples = enriched(clicks, {}, PlainEnricher()).samples(count)
    expected = sorted(enumerate(clicks), key=lambda pair: (pair[1].time_ms, pair[0]), reverse=True)
    assert len(samples) == count
    for sample, (_, each) in zip(samples, expected, strict=True):
        assert sample["at_ms"] == each.time_ms
        assert sample["link_id"] == (each.link_id or None)
        assert sample["domain_id"] == each.domain_id
        assert sample["status"] == each.status
        assert sample["is_tls"] == bool(each.flags & Flag.TLS)
        assert sample["is_stale"] == bool(each.flags & Flag.STALE)
        assert sample["code"] == (each.code.decode("utf-8", "replace") if each.code else None)
        assert (sample["address"] is None) == (each.address == b"")
        assert sample["referrer"] == ("" if each.code else each.referrer.decode())


def test_a_frame_of_the_largest_size_is_taken_and_a_larger_one_is_not() -> None:
    """The most items that there can be: all the smallest."""
    text = click.encode([Click(time_ms=1, link_id=1, domain_id=1, status=302, user_agent=b"ab")])[:12]
    largest = text * (click.FRAME_BYTES_MAX // 12)
    assert _compiled_verdict(largest) == _verdict(largest) == (0, 0, 0)
    assert _compiled_verdict(largest + text) == _verdict(largest + text) == "value"
    one = click.encode([Click(time_ms=1, link_id=1, domain_id=1, status=302)])
    most = one * (click.FRAME_BYTES_MAX // len(one))
    assert _compiled_verdict(most) == _verdict(most) == (click.FRAME_BYTES_MAX // len(one), 0, 0)


@pytest.mark.parametrize("flag", list(Flag))
def test_flags_have_the_numbers_of_the_format(flag: Flag) -> None:
    """Each has its effect, and no other."""
    is_unknown = flag == Flag.UNKNOWN_CODE
    each = Click(
        time_ms=1, link_id=0 if is_unknown else 1, domain_id=1, status=302, flags=flag, code=b"c" if is_unknown else b""
    )
    (sample,) = enriched([each], {}, PlainEnricher()).samples(1)
    assert (sample["is_tls"], sample["is_stale"]) == (flag == Flag.TLS, flag == Flag.STALE)
    assert (sample["class"] == "head", sample["code"] is not None) == (flag == Flag.HEAD, is_unknown)
