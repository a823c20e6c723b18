"""Which URLs may be targets, and how they are stored."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.errors import Error
from control.links import target

DATA = Path(os.environ.get("POINTSMAN_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
CASES = DATA / "wpt-urltestdata.json"


def _code(text: str) -> str:
    with pytest.raises(Error) as caught:
        target.parse(text)
    assert caught.value.pointer == "/target"
    return caught.value.code


def _expected(case: dict[str, Any]) -> str:
    """The href, or the code of the refusal: the standard's verdict under the three policies."""
    text = case["input"].strip(" ")
    if not case.get("failure") and case["protocol"] not in ("http:", "https:"):
        return "target_scheme"
    if any(character == " " or unicodedata.category(character) == "Cc" for character in text):
        return "target_characters"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text) or case.get("failure"):
        return "target_invalid"
    if case["username"] or case["password"]:
        return "target_credentials"
    return str(case["href"])


@pytest.mark.skipif(not CASES.exists(), reason=f"{CASES} is not there; set POINTSMAN_TEST_DATA")
def test_every_case_of_the_standard_gets_its_verdict() -> None:
    """All cases without a base: refused or serialised as the standard says, but for three policies."""
    cases = [case for case in json.loads(CASES.read_text()) if isinstance(case, dict) and case.get("base") is None]
    assert len(cases) == 555
    accepted = 0
    for case in cases:
        expected = _expected(case)
        try:
            got = target.parse(case["input"]).href
            accepted += 1
        except Error as error:
            got = error.code
        assert expected == got, ascii(case["input"])
    assert accepted > 80


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("javascript:alert(1)", "target_scheme"),
        ('javascript:alert("a b")', "target_scheme"),
        ("java\nscript:alert(1)", "target_scheme"),
        ("data:text/html,x", "target_scheme"),
        ("ftp://example.com/", "target_scheme"),
        ("mailto:a@example.com", "target_scheme"),
        ("https://user@example.com/", "target_credentials"),
        ("https://user:secret@example.com/", "target_credentials"),
        ("https://:secret@example.com/", "target_credentials"),
        ("https://example.com/a b", "target_characters"),
        ("https://example.com/\n", "target_characters"),
        ("ht\ttps://example.com/", "target_characters"),
        ("https://example.com/\x7f", "target_characters"),
        ("https://example.com/\x85", "target_characters"),
        ("https://exa mple.com/", "target_characters"),
        ("", "target_invalid"),
        ("/path", "target_invalid"),
        ("example.com", "target_invalid"),
        ("//example.com", "target_invalid"),
        ("https://", "target_invalid"),
        ("https://exa%00mple.com/", "target_invalid"),
        ("https://[::1/", "target_invalid"),
        ("https://256.256.256.256/", "target_invalid"),
        ("https://example.com:99999/", "target_invalid"),
        ("https://example.com/\ud800", "target_invalid"),
        ("https://example.com/" + "a" * 8173, "target_too_long"),
        ("https://example.com/" + "é" * 2000, "target_too_long"),
        ("x" * 10_000, "target_too_long"),
    ],
)
def test_bad_target_is_refused_with_its_own_code(text: str, code: str) -> None:
    """What breaks a rule is refused under the name of that rule."""
    assert code == _code(text)


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("https://example.com", "https://example.com/"),
        ("  https://example.com/a  ", "https://example.com/a"),
        ("HTTPS://EXAMPLE.com:443/A", "https://example.com/A"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://bücher.example/ü?ü#ü", "https://xn--bcher-kva.example/%C3%BC?%C3%BC#%C3%BC"),
        ("https://example.com/a/../b", "https://example.com/b"),
        ("https:\\\\example.com\\a", "https://example.com/a"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("https://example.com/?q='\"<>", "https://example.com/?q=%27%22%3C%3E"),
        ("https://example.com/" + "a" * 8172, "https://example.com/" + "a" * 8172),
    ],
)
def test_target_is_stored_as_the_standard_serialises_it(text: str, href: str) -> None:
    """The stored form is the one that browsers would make of it."""
    assert href == target.parse(text).href


@given(st.text(max_size=60).map(lambda tail: f"https://example.com/{tail}"))
def test_what_is_stored_can_always_be_sent(text: str) -> None:
    """Whatever is accepted is bytes 0x21-0x7e, and comes out the same when it goes in again."""
    try:
        href = target.parse(text).href
    except Error:
        return
    assert all(0x21 <= byte <= 0x7E for byte in href.encode())
    assert href == target.parse(href).href
    assert href == ada_url.URL(text).href
