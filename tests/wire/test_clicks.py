"""Clicks, frames and reports: what is encoded is read again, and anything else is refused with a stable code (I7)."""

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import click, frame, report
from wire.click import Click, Flag
from wire.errors import FormatError

GOLDEN = Path(__file__).parent / "golden"
TEXTS = st.binary(max_size=click.TEXT_BYTES_MAX)
INSTANTS = st.integers(0, 2**63 - 1)


@st.composite
def clicks(draw: st.DrawFn) -> Click:
    """Any click that the format can hold."""
    is_unknown = draw(st.booleans())
    flags = draw(st.integers(0, 31)) & ~Flag.UNKNOWN_CODE
    return Click(
        time_ms=draw(INSTANTS),
        link_id=0 if is_unknown else draw(st.integers(1, 2**63 - 1)),
        domain_id=draw(st.integers(1, 2**31 - 1)),
        status=draw(st.integers(0, 65_535)),
        flags=flags | (Flag.UNKNOWN_CODE if is_unknown else 0),
        user_agent=draw(TEXTS),
        referrer=draw(TEXTS),
        query=draw(TEXTS),
        address=draw(st.sampled_from([0, 4, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size))),
        code=draw(st.binary(min_size=1, max_size=click.CODE_BYTES_MAX)) if is_unknown else b"",
    )


@given(st.lists(clicks(), max_size=20))
def test_clicks_are_read_as_they_were_written(written: list[Click]) -> None:
    """All their fields, each text once."""
    assert written == click.decode(click.encode(written))


@given(st.binary(max_size=200))
def test_random_bytes_are_clicks_or_refused(noise: bytes) -> None:
    """Whatever they are: a list of clicks, or FormatError."""
    for decode in (click.decode, frame.decode, report.decode):
        try:
            decode(noise)
        except FormatError:
            continue


def test_every_cut_of_a_frame_is_refused() -> None:
    """Of its body unless it falls between two items, and of its envelope."""
    body = (GOLDEN / "click.bin").read_bytes()
    whole = len(click.decode(body))
    for size in range(len(body)):
        with contextlib.suppress(FormatError):
            assert len(click.decode(body[:size])) < whole
    data = (GOLDEN / "frame.bin").read_bytes()
    for size in range(len(data)):
        with pytest.raises(FormatError):
            frame.decode(data[:size])


@pytest.mark.parametrize("name", ["frame.bin", "frame-compressed.bin"])
def test_changed_bytes_never_give_another_body(name: str) -> None:
    """They are noticed by the length, the checksum or the codec, or are bits that mean nothing to the codec."""
    data = (GOLDEN / name).read_bytes()
    whole = frame.decode(data)
    for at in range(36 + len("edge-1"), len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x40
        with contextlib.suppress(FormatError):
            assert frame.decode(bytes(changed)) == whole


def test_body_that_inflates_without_end_is_refused() -> None:
    """It is never held: no more is inflated than a frame may have."""
    bomb = zlib.compress(bytes(click.FRAME_BYTES_MAX * 100))
    head = struct.pack("<BBHIIQIIQ", 1, frame.ZLIB, 1, click.FRAME_BYTES_MAX, 0, 1, 0, 4096, 0)
    with pytest.raises(FormatError, match="does not end where it should"):
        frame.decode(head + b"e" + bomb)


@pytest.mark.parametrize(
    "change",
    [
        {"link_id": 0},
        {"link_id": 2**63},
        {"domain_id": 0},
        {"domain_id": 2**31},
        {"time_ms": -1},
        {"address": b"123"},
        {"user_agent": b"a" * 256},
        {"code": b"abc"},
        {"flags": Flag.UNKNOWN_CODE},
        {"link_id": 0, "flags": Flag.UNKNOWN_CODE, "code": b""},
        {"link_id": 0, "flags": Flag.UNKNOWN_CODE, "code": b"a" * 65},
    ],
    ids=str,
)
def test_values_that_a_click_cannot_hold_are_refused(change: dict[str, Any]) -> None:
    """A click is one of a link or of an unknown code, not both, not neither."""
    with pytest.raises(FormatError):
        click.encode([Click(**({"time_ms": 1, "link_id": 1, "domain_id": 1, "status": 302} | change))])


@pytest.mark.parametrize(
    "change",
    [
        {"edge_id": ""},
        {"edge_id": "e" * 101},
        {"writer": 0},
        {"writer": 2**63},
        {"segment": -1},
        {"start": 2**31},
        {"created_ms": -1},
        {"body": b""},
        {"body": bytes(click.FRAME_BYTES_MAX + 1)},
    ],
    ids=str,
)
def test_values_that_a_frame_cannot_hold_are_refused(change: dict[str, Any]) -> None:
    """Encoding checks what decoding checks."""
    fields: dict[str, Any] = {"edge_id": "e", "writer": 1, "segment": 0, "start": 4096, "created_ms": 0, "body": b"x"}
    with pytest.raises(FormatError):
        frame.encode(frame.Frame(**(fields | change)), is_compressed=False)


@pytest.mark.parametrize(
    "change",
    [
        {"served": 1011},
        {"recorded": -1},
        {"dropped": {"torn": 1}},
        {"dropped": {"backlog_full": 4, "disk_full": 3, "no_segment": 2, "torn": 1, "other": 0}},
        {"dropped": [1]},
        {"is_final": 1},
        {"edge_id": 5},
        {"unknown_recorded": 2**63},
    ],
    ids=str,
)
def test_malformed_report_is_refused(change: dict[str, Any]) -> None:
    """Also one whose sums are wrong."""
    body = orjson.loads((GOLDEN / "report.json").read_bytes()[1:]) | change
    with pytest.raises(FormatError) as caught:
        report.decode(b"1" + orjson.dumps(body))
    assert caught.value.code == "value"
