"""Addresses, trusted networks and the keys of clients, against Python's ipaddress and real sockets."""

import ipaddress
import re
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge._base62 import siphash24
from edge._client import ClientKeys, Networks, canonical, peer

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ADDRESSES = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.ip_addresses(v=4).map(lambda address: ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)),
)
SECRET = bytes(range(16))


def plain(address: Address) -> Address:
    """IPv4 where an address is IPv4 in the clothes of IPv6."""
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


@given(ADDRESSES, st.booleans())
def test_addresses_have_one_form(address: Address, is_exploded: bool) -> None:
    """Whatever way an address is written, it is read as ipaddress reads it; mapped IPv4 is IPv4."""
    text = address.exploded if is_exploded else str(address)
    assert plain(address) == ipaddress.ip_address(canonical(text))
    assert canonical(text) == canonical(text.upper())


@given(ADDRESSES.map(str), st.integers(0, 40), st.text("0123456789abcdfg:./%[] \0x", max_size=3))
@example("1.2.3.4", 0, "0")
@example("fe80::1", 40, "%1")
def test_reads_no_text_that_is_no_address(text: str, place: int, noise: str) -> None:
    """After a mutation it is an address just if ipaddress says so; zones are none of ours."""
    at = place % (len(text) + 1)
    text = text[:at] + noise + text[at + 1 :]
    try:
        expected = plain(ipaddress.ip_address(text)) if "%" not in text else None
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match="is no IP address"):
            canonical(text)
    else:
        assert expected == ipaddress.ip_address(canonical(text))


NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ipaddress.ip_network((pair[0], pair[1]), strict=False))


def plain_network(network: Network) -> Network:
    """The same for networks."""
    address = plain(network.network_address)
    bits = network.prefixlen - 96 if address.version != network.version else network.prefixlen
    return ipaddress.ip_network((address, bits)) if bits >= 0 else network


@given(st.lists(NETWORKS, max_size=8), ADDRESSES)
def test_contains_what_ipaddress_contains(networks: list[Network], drawn: Address) -> None:
    """Any networks, any address, and the addresses at the ends of each network and right behind it."""
    trusted = Networks(",".join(str(network) for network in networks))
    ends = [end for network in networks for end in (network.network_address, network.broadcast_address)]
    assert len(networks) == len(trusted)
    for address in [drawn, *ends, *(end + 1 for end in ends if int(end) + 1 < 2**end.max_prefixlen)]:
        expected = any(plain(address) in plain_network(network) for network in networks)
        assert expected == (str(address) in trusted)


def test_ipv4_networks_may_be_written_as_mapped_ones() -> None:
    """A prefix of 96 bits and more in ::ffff:0:0/96 is that of the IPv4 network."""
    trusted = Networks("::ffff:10.0.0.0/104")
    assert "10.1.2.3" in trusted
    assert "::ffff:10.1.2.3" in trusted
    assert "11.0.0.0" not in trusted


def test_all_of_ipv6_is_not_all_of_ipv4() -> None:
    """IPv4 is kept inside ::/0, but who writes that does not mean it."""
    assert "2001:db8::1" in Networks("::/0")
    assert "192.0.2.1" not in Networks("::/0")
    assert "192.0.2.1" in Networks("0.0.0.0/0")
    assert "2001:db8::1" not in Networks("0.0.0.0/0")


def test_blanks_between_networks_do_not_matter() -> None:
    """An empty text is the empty set."""
    assert len(Networks("")) == len(Networks(" , ")) == 0
    assert len(Networks(" 10.0.0.0/8 , ::1,")) == 2


@pytest.mark.parametrize(
    "network",
    [
        "10.0.0.1/8",
        "2001:db8::1/64",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/٨",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/8/8",
        "10.0.0",
        "010.0.0.0/8",
        "fe80::1%eth0",
        "[::1]",
        "proxy.example",
        "10.0.0.0\x00/8",
    ],
)
def test_refused_network_is_named(network: str) -> None:
    """Also among good ones (I7)."""
    with pytest.raises(ValueError, match="^" + re.escape(repr(network))):
        Networks(f"127.0.0.1,{network},::1")


def test_networks_have_a_maximum() -> None:
    """64 are taken, one more is refused."""
    networks = [f"10.0.0.{n}" for n in range(65)]
    trusted = Networks(",".join(networks[:64]))
    assert all(network in trusted for network in networks[:64])
    assert networks[64] not in trusted
    with pytest.raises(ValueError, match="65 networks; at most 64"):
        Networks(",".join(networks))


@pytest.mark.parametrize(
    ("family", "bound", "expected"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
    ],
)
def test_peer_of_a_socket_is_its_other_end(family: int, bound: str, expected: str) -> None:
    """Real connections."""
    with (
        socket.create_server((bound, 0), family=family) as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as accepted,
    ):
        assert expected == peer(accepted.fileno())


def test_ipv4_on_an_ipv6_socket_is_ipv4() -> None:
    """A socket that takes both families sees ::ffff:127.0.0.1."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as accepted:
            assert peer(accepted.fileno()) == "127.0.0.1"


def test_peer_on_a_unix_socket_has_the_address_of_nobody(tmp_path: Path) -> None:
    """With a path or, as clients have it, without a name."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        client.connect(str(tmp_path / "socket"))
        with listener.accept()[0] as accepted:
            assert peer(accepted.fileno()) == "::"
            assert peer(client.fileno()) == "::"


def test_socket_without_a_peer_has_no_address() -> None:
    """Neither an unconnected one nor a number that is no socket."""
    with socket.socket() as unconnected:
        assert peer(unconnected.fileno()) is None
    assert peer(-1) is None


@given(ADDRESSES, ADDRESSES)
def test_clients_are_told_apart_by_address_or_by_64_bits(one: Address, other: Address) -> None:
    """Two addresses share a key just if they are one IPv4 address or lie in one /64."""

    def client(address: Address) -> tuple[int, bytes]:
        address = plain(address)
        return address.version, address.packed if address.version == 4 else address.packed[:8]

    keys = ClientKeys(SECRET)
    assert (client(one) == client(other)) == (keys.key(str(one)) == keys.key(str(other)))


@given(st.ip_addresses(v=6), st.binary(min_size=8, max_size=8))
def test_a_host_does_not_leave_its_key_within_its_64_bits(address: ipaddress.IPv6Address, host: bytes) -> None:
    """All 2^64 addresses that a host can give itself are one client."""
    keys = ClientKeys(SECRET)
    other = ipaddress.IPv6Address(address.packed[:8] + host)
    if address.ipv4_mapped is None and other.ipv4_mapped is None:
        assert keys.key(str(address)) == keys.key(str(other))


@given(ADDRESSES, st.binary(min_size=16, max_size=16))
def test_key_is_a_siphash_under_the_secret(address: Address, secret: bytes) -> None:
    """So that nobody who does not know the secret can aim at another client's key."""
    address = plain(address)
    block = b"\0" * 10 + b"\xff\xff" + address.packed if address.version == 4 else address.packed[:8] + bytes(8)
    assert siphash24(secret, block) == ClientKeys(secret).key(str(address))


@pytest.mark.parametrize("secret", [b"", b"x" * 15, b"x" * 17])
def test_secret_of_another_size_is_refused(secret: bytes) -> None:
    """16 bytes, as SipHash has it."""
    with pytest.raises(ValueError, match="16 bytes"):
        ClientKeys(secret)
