"""Chains of forwarded addresses against a plain walk, and that nothing on the left can hide what a proxy wrote."""

import ipaddress
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._client import Networks, canonical
from edge._forwarded import Forwarding, client_of, read_forwarded, read_x_forwarded_for
from tests.edge.guard_page import GuardPage

Read = Callable[[bytes | memoryview, Networks, str], tuple[str, bool]]
Element = tuple[str, str | None]

TRUSTED = Networks("10.0.0.0/8,fd00::/8")
PEER = "10.0.0.1"
GUARD = GuardPage()
READERS = {Forwarding.FORWARDED: read_forwarded, Forwarding.X_FORWARDED_FOR: read_x_forwarded_for}
NAMES = {Forwarding.FORWARDED: b"Forwarded", Forwarding.X_FORWARDED_FOR: b"X-Forwarded-For"}

ADDRESSES = st.one_of(
    st.integers(0, 2**24 - 1).map(lambda n: str(ipaddress.IPv4Address(0x0A000000 + n))),
    st.integers(0, 2**64 - 1).map(lambda n: str(ipaddress.IPv6Address((0xFD << 120) + n))),
    st.ip_addresses().map(str),
)
PORTS = st.one_of(st.just(""), st.integers(0, 65_535).map(lambda port: f":{port}"))


def quoted(text: str) -> str:
    """A quoted string with one quoted pair."""
    return f'"{text[:1]}\\{text[1:]}"' if len(text) > 1 else f'"{text}"'


def forwarded(address: str, port: str, style: int) -> Element:
    """An element of Forwarded that names the address in one of several ways."""
    node = (f"[{address}]" if ":" in address else address) + port
    value = node if style == 0 and ":" not in node else f'"{node}"' if style < 3 else quoted(node)
    before = ('host="a, b; \\"c\\"";', "", "", "proto=http; ")[style % 4]
    after = (";by=_proxy", "", " ; by=unknown", ";")[style % 4]
    return f"{before}{('for', 'For', 'FOR', 'for')[style % 4]}={value}{after}", address


def x_forwarded(address: str, port: str, style: int) -> Element:
    """The same for X-Forwarded-For."""
    if ":" in address:
        return (f"[{address}]{port}" if style % 2 or port else address), address
    return address + port, address


UNREADABLE = {
    Forwarding.FORWARDED: [
        "",
        "for=unknown",
        'for="unknown:80"',
        "for=_hidden",
        'for="_SEVKISEK:_p"',
        "proto=https;by=10.0.0.1",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1:80",
        "for=[2001:db8::1]",
        'for="2001:db8::1"',
        'for="192.0.2.1:65536"',
        'for="192.0.2.1:"',
        'for="192.0.2.1:_"',
        'for="192.0.2.01"',
        'for="[2001:db8::1"',
        'for="[2001:db8::1]x"',
        'for="[2001:db8::1]:x"',
        'for="[fe80::1%eth0]"',
        'for="[192.0.2.1]"',
        'for=""',
        "for=",
        "for",
        "for = 192.0.2.1",
        "=192.0.2.1",
        "192.0.2.1",
        "for=192.0.2.1 192.0.2.2",
        'for="192.0.2.1"x',
        'for=x"192.0.2.1"',
        'for="' + "1" * 80 + '"',
    ],
    Forwarding.X_FORWARDED_FOR: [
        "",
        "unknown",
        "_hidden",
        "192.0.2.1 192.0.2.2",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:123456",
        "192.0.2.256",
        "192.0.2.01",
        '"192.0.2.1"',
        "[192.0.2.1]",
        "[2001:db8::1",
        "[2001:db8::1]:",
        "2001:db8::1]",
        "fe80::1%eth0",
        "for=192.0.2.1",
        "unix:",
        "1" * 80,
    ],
}
WRITERS = {Forwarding.FORWARDED: forwarded, Forwarding.X_FORWARDED_FOR: x_forwarded}


def elements(field: Forwarding) -> st.SearchStrategy[Element]:
    """Mostly ones that can be read."""
    good = st.builds(WRITERS[field], ADDRESSES, PORTS, st.integers(0, 3))
    return st.one_of(good, good, good, st.sampled_from(UNREADABLE[field]).map(lambda text: (text, None)))


def plain_walk(chain: list[Element], hops_max: int = 32) -> tuple[str, bool]:
    """The obvious walk over what the elements mean."""
    client = canonical(PEER)
    for _, address in list(reversed(chain))[:hops_max]:
        if address is None:
            return client, False
        client = canonical(address)
        if client not in TRUSTED:
            return client, False
    return client, len(chain) <= hops_max


FIELDS = st.sampled_from(sorted(READERS))


@settings(max_examples=500)
@given(FIELDS, st.data())
def test_walks_as_the_obvious_walk_does(field: Forwarding, data: st.DataObject) -> None:
    """Any chain: trusted and untrusted addresses, ports, quotes, elements that cannot be read."""
    chain = data.draw(st.lists(elements(field), min_size=1, max_size=40))
    separators = data.draw(st.lists(st.sampled_from([",", ", ", " ,\t"]), min_size=len(chain), max_size=len(chain)))
    value = "".join(f"{separator}{text}" for separator, (text, _) in zip(separators, chain, strict=True))
    value = value.lstrip(" \t").removeprefix(",")
    assert plain_walk(chain) == READERS[field](GUARD.put(value.encode()), TRUSTED, PEER)


@settings(max_examples=500)
@given(FIELDS, st.binary(max_size=80), st.data())
def test_left_part_cannot_hide_the_first_untrusted_address(field: Forwarding, junk: bytes, data: st.DataObject) -> None:
    """What a client wrote, with quotes left open or whatever else, does not change what the proxies wrote behind it."""
    address = data.draw(st.ip_addresses().map(str).filter(lambda text: text not in TRUSTED))
    proxies = data.draw(st.lists(ADDRESSES.filter(lambda text: text in TRUSTED), max_size=3))
    style = data.draw(st.integers(0, 3))
    chain = ", ".join(WRITERS[field](hop, "", style)[0] for hop in [address, *proxies])
    for left in (junk, b'for="', b'for="x\\', b'for=1.2.3.4;by="', b'"', b"\\"):
        value = left + b", " + chain.encode()
        assert (canonical(address), False) == READERS[field](GUARD.put(value), TRUSTED, PEER)


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in UNREADABLE.items() for text in texts])
def test_unreadable_element_ends_the_walk(field: Forwarding, text: str) -> None:
    """The client is the good address to its right, never one further left; alone it leaves the peer."""
    read = READERS[field]
    left, right = WRITERS[field]("192.0.2.9", "", 1)[0], WRITERS[field]("10.2.2.2", "", 1)[0]
    assert read(f"{left}, {text}, {right}".encode(), TRUSTED, PEER) == ("10.2.2.2", False)
    assert read(f"{left}, {text}".encode(), TRUSTED, PEER) == (PEER, False)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ('for=192.0.2.43, for="[2001:db8:cafe::17]"', "2001:db8:cafe::17"),
        ('for="_gazonk"', PEER),
        ('for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown', PEER),
    ],
)
def test_reads_the_examples_of_rfc_7239(value: str, client: str) -> None:
    """Its sections 4, 5.2, 6.3 and 7.1."""
    assert client == read_forwarded(value.encode(), TRUSTED, PEER)[0]


def test_a_chain_is_followed_for_32_hops() -> None:
    """Then the last address that was read holds, though more stand to its left."""
    chain = [f"10.9.9.{n}" for n in range(40)]
    assert read_x_forwarded_for(", ".join(chain).encode(), TRUSTED, PEER) == ("10.9.9.8", False)
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"X-Forwarded-For: %s\r\n" % hop.encode() for hop in chain) + b"\r\n"
    assert client_of(Forwarding.X_FORWARDED_FOR, head, TRUSTED, PEER) == "10.9.9.8"


@settings(max_examples=500)
@given(FIELDS, st.binary(max_size=200), st.lists(st.sampled_from('for="[],;:\\ \t=._1a'), max_size=60).map("".join))
def test_any_bytes_give_an_address_and_are_not_read_beyond(field: Forwarding, junk: bytes, syntax: str) -> None:
    """Noise, and noise made of what the grammar is made of."""
    for value in (junk, syntax.encode(), syntax.encode() + junk):
        client, _ = READERS[field](GUARD.put(value), TRUSTED, PEER)
        assert client == canonical(client)


# ---- the head of a request


@settings(max_examples=300)
@given(FIELDS, st.data())
def test_lines_are_one_list(field: Forwarding, data: st.DataObject) -> None:
    """However a chain is cut into lines, among other fields, the client is that of the chain in one line."""
    chain = data.draw(st.lists(elements(field), min_size=1, max_size=12))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(chain)), max_size=4)) | {0, len(chain)})
    name = data.draw(st.sampled_from([NAMES[field], NAMES[field].lower(), NAMES[field].upper()]))
    other = NAMES[Forwarding.FORWARDED if field is Forwarding.X_FORWARDED_FOR else Forwarding.X_FORWARDED_FOR]
    lines = [b"GET / HTTP/1.1", b"Host: a", other + b": 192.0.2.77", name + b"-By: 192.0.2.78"]
    for begin, end in itertools.pairwise(cuts):
        lines += [name + b": " + ", ".join(text for text, _ in chain[begin:end]).encode(), b"X: y"]
    head = b"\r\n".join((*lines, b"", b""))
    assert plain_walk(chain)[0] == client_of(field, GUARD.put(head), TRUSTED, PEER)


HEAD = b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n\r\n"


@pytest.mark.parametrize(
    ("field", "peer", "client"),
    [
        (Forwarding.OFF, PEER, PEER),
        (Forwarding.FORWARDED, PEER, "192.0.2.2"),
        (Forwarding.X_FORWARDED_FOR, PEER, "192.0.2.1"),
        (Forwarding.FORWARDED, "203.0.113.9", "203.0.113.9"),
        (Forwarding.X_FORWARDED_FOR, "203.0.113.9", "203.0.113.9"),
        (Forwarding.X_FORWARDED_FOR, "::", "::"),
    ],
)
def test_only_a_trusted_peer_is_believed(field: Forwarding, peer: str, client: str) -> None:
    """And only the field that is set."""
    assert client == client_of(field, HEAD, TRUSTED, peer)


def test_request_without_the_field_is_its_peers() -> None:
    """Health checks of a proxy."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert client_of(Forwarding.FORWARDED, head, TRUSTED, PEER) == PEER
    assert client_of(Forwarding.FORWARDED, b"GET /forwarded: HTTP/1.0\r\n\r\n", TRUSTED, PEER) == PEER
    with pytest.raises(ValueError, match="empty line"):
        client_of(Forwarding.FORWARDED, b"\r\n", TRUSTED, PEER)
