"""Which hosts are ones, and what of them is looked up."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge._host import trim


@pytest.mark.parametrize(
    ("host", "trimmed"),
    [
        (b"sho.rt", b"sho.rt"),
        (b"SHO.rt", b"SHO.rt"),
        (b"sho.rt.", b"sho.rt"),
        (b"sho.rt:", b"sho.rt"),
        (b"sho.rt:80", b"sho.rt"),
        (b"sho.rt.:443", b"sho.rt"),
        (b"sho.rt:0080", b"sho.rt"),
        (b"sho.rt:8080", b"sho.rt:8080"),
        (b"sho.rt.:8080", b"sho.rt.:8080"),
        (b"sho.rt:65535", b"sho.rt:65535"),
        (b"192.0.2.1:80", b"192.0.2.1"),
        (b"[2001:DB8::1]", b"[2001:DB8::1]"),
        (b"[::1]:443", b"[::1]"),
        (b"[::1]:8080", b"[::1]:8080"),
        (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
        (b"a_b.%C3%BC!$&'()*+,;=~", b"a_b.%C3%BC!$&'()*+,;=~"),
    ],
)
def test_trims_default_ports_and_the_last_dot(host: bytes, trimmed: bytes) -> None:
    """What is left is how the table of domains has the host, but for its case."""
    assert trim(host) == trimmed


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"",
            b".",
            b":80",
            b".:80",
            b"a" * 261,
            b"a b",
            b"a/b",
            b"a@b",
            b"a\\b",
            b"a#b",
            b"a?b",
            b"\xc3\xbc",
            b"a\x00",
        ),
        *(b"a:b", b"a:1:2", b"a:-1", b"a:65536", b"a:000080", b"a:80 ", b"%", b"%2", b"%2x", b"a%zz", b"<a>"),
        *(b"[", b"]", b"[]", b"[::1", b"::1", b"[::1]a", b"[::1].", b"[::1]:x", b"[v1.a]", b"[::1%25eth0]", b"[a.b]"),
    ],
)
def test_refuses_what_is_no_host(host: bytes) -> None:
    """By the grammar of RFC 3986, which is stricter than what resolvers take."""
    assert trim(host) is None


ADDRESSES = st.one_of(
    st.ip_addresses(v=6).map(str),
    st.lists(
        st.sampled_from(["::", ":", "0", "1f", "fffff", "1.2.3.4", "1.2.3", "256.1.1.1", "01.1.1.1"]), max_size=12
    ).map("".join),
)


@given(ADDRESSES)
def test_addresses_are_those_of_the_standard_library(text: str) -> None:
    """What stands in brackets is an IPv6 address just if `ipaddress` reads it as one."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        assert trim(f"[{text}]".encode()) is None
    else:
        assert trim(f"[{text}]:80".encode()) == f"[{text}]".encode()
