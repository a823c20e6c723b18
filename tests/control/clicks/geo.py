"""Databases of places, written for a test."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

Record = Mapping[str, object]

LONDON: Record = {
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom", "de": "Vereinigtes Königreich"}},
    "city": {"names": {"de": "London (Stadt)", "en": "London"}},
}
MUNICH: Record = {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Munich", "de": "München"}}}
COUNTRY_ONLY: Record = {"country": {"iso_code": "JP"}, "continent": {"code": "AS"}}
CITIES: Mapping[str, Record] = {
    "81.2.69.0/24": LONDON,
    "2001:db8:1::/48": LONDON,
    "93.184.216.0/24": MUNICH,
    "2001:db8:2::/48": MUNICH,
    "133.0.0.0/8": COUNTRY_ONLY,
}


def write(path: Path, networks: Mapping[str, Record] = CITIES, kind: str = "GeoLite2-City", version: int = 6) -> Path:
    """A database at `path`, in the place of what is there."""
    writer = MMDBWriter(
        version, kind, languages=["en", "de"], description="made by a test", ipv4_compatible=version == 6
    )
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), dict(record))
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    new.replace(path)
    return path


def packed(address: str) -> bytes:
    """The address as a click has it."""
    return ipaddress.ip_address(address).packed
