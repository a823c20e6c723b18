"""Base62 and the permutation of generated codes."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge._base62 import CodePermutation, decode, encode, siphash24

CODES = 62**7
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def plain_encode(number: int) -> str:
    """The obvious base62."""
    digits = ""
    while True:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
        if number == 0:
            return digits


def test_alphabet_order_is_digits_lower_upper() -> None:
    """The published example of the design."""
    assert encode(123456789) == "8m0Kx"


@given(st.integers(0, 2**64 - 1))
def test_encode_agrees_with_the_obvious_one_and_decode_inverts_it(number: int) -> None:
    """All of 64 bits."""
    text = encode(number)
    assert plain_encode(number) == text
    assert number == decode(text)


@pytest.mark.parametrize("text", ["", "a b", "ü", "-", "a" * 12, "ZZZZZZZZZZZ", "lYGhA16ahyg"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Foreign characters and numbers above 2^64-1."""
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        decode(text)


def test_siphash_gives_the_published_vector() -> None:
    """J.-P. Aumasson and D. J. Bernstein, "SipHash", appendix A."""
    assert siphash24(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@given(st.binary(min_size=16, max_size=16), st.integers(0, CODES - 1))
def test_a_code_leads_back_to_its_number(key: bytes, number: int) -> None:
    """The permutation is inverted by its own key."""
    permutation = CodePermutation(key)
    code = permutation.code(number)
    assert re.fullmatch("[0-9A-Za-z]{7}", code)
    assert number == permutation.number(code)


def test_codes_of_a_run_of_numbers_are_all_different_and_not_in_order() -> None:
    """No collision in 200,000 codes, and the next code cannot be told from the last."""
    permutation = CodePermutation(bytes(range(16)))
    codes = [permutation.code(number) for number in range(200_000)]
    assert len(codes) == len(set(codes))
    rises = sum(a < b for a, b in itertools.pairwise(codes))
    assert 0.49 < rises / len(codes) < 0.51


def test_number_above_the_last_code_is_refused() -> None:
    """62^7 codes, no more."""
    with pytest.raises(ValueError, match="above the last code"):
        CodePermutation(bytes(16)).code(CODES)


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 17])
def test_key_of_another_size_is_refused(key: bytes) -> None:
    """The key has 16 bytes."""
    with pytest.raises(ValueError, match="16 bytes"):
        CodePermutation(key)
