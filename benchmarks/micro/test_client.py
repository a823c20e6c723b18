"""Who the client is: its key, a chain of forwarded addresses, the PROXY header."""

import ipaddress

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _client, _forwarded, _proxy

SECRET = bytes(range(16))
ADDRESSES = [f"203.0.113.{n}" for n in range(100)] + [f"2001:db8:{n:x}::1" for n in range(100)]
CHAIN = b"198.51.100.7, 203.0.113.9, 10.2.2.2, 10.1.1.1"
HEADERS = {
    1: b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    2: bytes.fromhex("0d0a0d0a000d0a515549540a 2111000c c0a80001 c0a8000b dc04 01bb"),
}


def test_key(compare: Compare) -> None:
    """From the address as text, which the edge does not have."""

    def written(address: str) -> int:
        return plain.client_key(SECRET, address)

    compare("client key", _client.ClientKeys(SECRET).key, written, ADDRESSES)


def test_chain(compare: Compare) -> None:
    """Two trusted hops, then the client, then what it wrote itself."""
    trusted = _client.Networks("10.0.0.0/8,192.168.0.0/16")
    networks = [ipaddress.IPv4Network("10.0.0.0/8"), ipaddress.IPv4Network("192.168.0.0/16")]

    def compiled(value: bytes) -> tuple[str, bool]:
        return _forwarded.read_x_forwarded_for(value, trusted, "10.0.0.1")

    def written(value: bytes) -> tuple[str, bool]:
        return plain.walk(value, networks, "10.0.0.1")

    compare("forwarded chain of 4", compiled, written, [CHAIN] * 100)


@pytest.mark.parametrize("version", HEADERS)
def test_proxy(compare: Compare, version: int) -> None:
    """The same header over and over."""
    compare(f"PROXY header, version {version}", _proxy.read_proxy, plain.read_proxy, [HEADERS[version]] * 100)
