"""Databases in MaxMind's format: what they say of an address, and what is no such database."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.clicks.places import Places
from tests.control.clicks.geo import CITIES, packed, write


@pytest.fixture
def cities(tmp_path: Path) -> Places:
    """A database of cities with both versions of addresses."""
    return Places(write(tmp_path / "cities.mmdb"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("81.2.69.160", ("GB", "London, GB")),
        ("81.2.69.0", ("GB", "London, GB")),  # as it is recorded by default
        ("::ffff:81.2.69.160", ("GB", "London, GB")),
        ("2001:db8:1:2::3", ("GB", "London, GB")),
        ("2001:db8:2::", ("DE", "Munich, DE")),
        ("133.1.2.3", ("JP", "")),
        ("127.0.0.1", ("", "")),
        ("::1", ("", "")),
    ],
)
def test_address_has_country_and_city(cities: Places, address: str, expected: tuple[str, str]) -> None:
    """English names, the city with its country; nothing for an address that is not in it."""
    assert cities.find(packed(address)) == expected


@pytest.mark.parametrize("address", [b"", b"\1", bytes(5), bytes(15), bytes(17)])
def test_other_lengths_are_nowhere(cities: Places, address: bytes) -> None:
    """No address was recorded, or it is none."""
    assert cities.find(address) == ("", "")


def test_country_database_has_no_cities(tmp_path: Path) -> None:
    """The schema of countries, in the type that another maker gives it."""
    networks = {"81.2.69.0/24": {"country": {"iso_code": "GB"}, "registered_country": {"iso_code": "US"}}}
    places = Places(write(tmp_path / "countries.mmdb", networks, "DBIP-Country-Lite"))
    assert places.find(packed("81.2.69.1")) == ("GB", "")


def test_database_of_one_version_knows_no_other(tmp_path: Path) -> None:
    """An address of version 6 in a database of version 4."""
    places = Places(write(tmp_path / "v4.mmdb", {"81.2.69.0/24": CITIES["81.2.69.0/24"]}, version=4))
    assert places.find(packed("81.2.69.1")) == ("GB", "London, GB")
    assert places.find(packed("2001:db8:1::1")) == ("", "")


@pytest.mark.parametrize(
    "record",
    [
        {"country": "GB", "city": "London"},
        {"country": {"iso_code": 826}, "city": {"names": ["London"]}},
        {"country": {}, "city": {"names": {"de": "London"}}},
        {"location": {"latitude": 51.5}},
    ],
)
def test_other_schemas_are_nowhere(tmp_path: Path, record: dict[str, object]) -> None:
    """Names that mean something else in another database are not believed."""
    assert Places(write(tmp_path / "other.mmdb", {"81.2.69.0/24": record})).find(packed("81.2.69.1")) == ("", "")


def test_long_and_broken_names_are_cut(tmp_path: Path) -> None:
    """At most 64 bytes, between two characters, without a line's end."""
    record = {"country": {"iso_code": "TH"}, "city": {"names": {"en": "Krung\nthep " + "ก" * 50}}}
    _, city = Places(write(tmp_path / "long.mmdb", {"81.2.69.0/24": record})).find(packed("81.2.69.1"))
    assert city == "Krung thep " + "ก" * 16 + ", TH"


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    """One of networks' owners is whole, but says nothing of places."""
    path = write(tmp_path / "asn.mmdb", {"81.2.69.0/24": {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    with pytest.raises(ValueError, match="GeoLite2-ASN"):
        Places(path)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    """At whatever byte the file ends; the whole one is taken."""
    whole = write(tmp_path / "cities.mmdb").read_bytes()
    cut = tmp_path / "cut.mmdb"
    taken = []
    for size in range(0, len(whole), 97):
        cut.write_bytes(whole[:size])
        try:
            Places(cut)
        except ValueError:
            continue
        taken.append(size)
    assert taken == []
    cut.write_bytes(whole)
    Places(cut)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_databases_are_refused_or_answer_in_bounds(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes are changed anywhere. What the check lets through can be used: texts of at most 64 bytes, nothing else.

    The check may end in a signal, which is why it is a process of its own.
    """
    path = tmp_path / "broken.mmdb"
    whole = bytearray(write(path).read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=20)):
        whole[at] = byte
    path.write_bytes(whole)
    check = [sys.executable, "-m", "control.clicks.geo_check", str(path)]
    if subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return
    try:
        places = Places(path)
    except ValueError:
        return
    for network in CITIES:
        for text in places.find(packed(network.partition("/")[0])):
            assert len(text.encode("utf-8")) <= 64
