"""The UTM parameters of a query."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.clicks.campaigns import campaign_of, query_of


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ("", "", "")),
        (b"q=1&page=2", ("", "", "")),
        (b"utm_source=News&utm_medium=EMail&utm_campaign=Spring", ("news", "email", "Spring")),
        (b"a=1&utm_campaign=x", ("", "", "x")),
        (b"utm_source=new+letter&utm_medium=a%2Bb", ("new letter", "a+b", "")),
        (b"utm_source=b%C3%BCcher&utm_campaign=b\xc3\xbccher", ("bücher", "", "bücher")),
        (b"utm_source=%FF%FE", ("\ufffd\ufffd", "", "")),
        (b"utm_source=a%00b%0Ac%E2%80%AEd", ("a b c d", "", "")),
        (b"utm_source=&utm_source=b", ("b", "", "")),
        (b"utm_source=a&utm_source=b", ("a", "", "")),
        (b"utm_source&utm_medium==&utm_campaign=%", ("", "=", "%")),
        (b"xutm_source=a&UTM_SOURCE=b", ("", "", "")),
        (b"utm_source=" + b"a" * 63 + b"%C3%BC", ("a" * 63, "", "")),
        (b"utm_source=" + b"%C3%9C" * 40, ("ü" * 32, "", "")),
    ],
)
def test_parameters_of_a_query(query: bytes, expected: tuple[str, str, str]) -> None:
    """Decoded as forms are, on one line, at most 64 bytes; source and medium in lower case."""
    assert campaign_of(query) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://example.com/?utm_source=a", b"utm_source=a"),
        ("https://example.com/?a=1#?utm_source=b", b"a=1"),
        ("https://example.com/#utm_source=b", b""),
        ("https://example.com/", b""),
    ],
)
def test_query_of_a_target(target: str, expected: bytes) -> None:
    """Between the question mark and the fragment."""
    assert query_of(target) == expected


@given(text=st.binary(max_size=255) | st.binary(max_size=240).map(lambda tail: b"utm_campaign=" + tail))
def test_any_bytes_are_read(text: bytes) -> None:
    """Valid UTF-8 of at most 64 bytes, without controls."""
    for value in campaign_of(text):
        assert len(value.encode("utf-8")) <= 64
        assert not any(ord(character) < 32 for character in value)
