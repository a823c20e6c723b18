"""Where a visitor is: a database in MaxMind's format, opened and checked.

The schemas of MaxMind's City, Enterprise and Country databases are understood (the DB-IP ones are the same): `country`
with `iso_code`, `city` with English `names`.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import maxminddb

from control.clicks.values import VALUE_BYTES_MAX, clean

NOWHERE: Final = ("", "")
# The kind of a database is a part of its type: GeoLite2-City, DBIP-Country-Lite, GeoIP2-Enterprise.
_KINDS: Final = ("City", "Country", "Enterprise")
_MAPPED: Final = bytes(10) + b"\xff\xff"
# Read once at the start, so that a file whose tree or data is cut is refused before it is used.
_PROBES: Final = ("0.0.0.0", "1.1.1.1", "8.8.8.8", "100.64.0.1", "133.1.1.1", "185.1.1.1", "223.255.255.255")  # noqa: S104 (addresses to look up)


class Places:
    """One database; it never changes. The file must not either, as long as it is in use."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError or OSError for what is not a whole database of places."""
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_MMAP_EXT)
            metadata = self._reader.metadata()
            self.kind = str(metadata.database_type)
            self.built_s = int(metadata.build_epoch)
            self._is_v4_only = metadata.ip_version == 4
            if not any(kind in self.kind for kind in _KINDS):
                raise ValueError(f"it is a database of the type {self.kind}, not of cities or countries")
            for probe in _PROBES:
                self._reader.get(probe)
        except maxminddb.InvalidDatabaseError as error:
            raise ValueError(str(error)) from error

    def find(self, address: bytes) -> tuple[str, str]:
        """Country (ISO 3166-1 code) and city of an address in network order; "" where the database knows none."""
        if len(address) == 16 and address.startswith(_MAPPED):
            address = address[12:]
        if len(address) == 4:
            text = socket.inet_ntop(socket.AF_INET, address)
        elif len(address) == 16 and not self._is_v4_only:
            text = socket.inet_ntop(socket.AF_INET6, address)
        else:
            return NOWHERE
        try:
            return _place(self._reader.get(text))
        except (maxminddb.InvalidDatabaseError, ValueError):
            return NOWHERE


def _place(record: object) -> tuple[str, str]:
    """A city is named with its country: there is a Paris in Texas."""
    country = clean(_text(record, "country", "iso_code"))
    city = clean(_text(record, "city", "names", "en"), VALUE_BYTES_MAX - len(", XX"))
    return country, clean(f"{city}, {country}") if city and country else city


def _text(record: object, *path: str) -> str:
    """The text at `path`; "" if there is something else, or nothing."""
    for name in path:
        if not isinstance(record, Mapping):
            return ""
        record = record.get(name)
    return record if isinstance(record, str) else ""
