"""The table of domains: which domain id a Host header stands for. Published to every shard as pm:domains."""

from dataclasses import dataclass
from typing import Final

from wire import document
from wire.errors import FormatError

FORMAT_VERSION: Final = 1
DOMAINS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """`hosts` maps a lower-case ASCII host, with its port where that is not the scheme's default, to a domain id."""

    revision: int
    default_id: int
    hosts: dict[str, int]


def encode(domains: Domains) -> bytes:
    """The value of the key pm:domains; raises FormatError."""
    _check(domains)
    return document.pack(
        FORMAT_VERSION,
        {"revision": domains.revision, "default_id": domains.default_id, "hosts": domains.hosts},
    )


def decode(data: bytes) -> Domains:
    """The table in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "domains")
    domains = Domains(
        revision=document.field(body, "revision", int, "domains"),
        default_id=document.field(body, "default_id", int, "domains"),
        hosts=document.field(body, "hosts", dict, "domains"),
    )
    _check(domains)
    return domains


def _check(domains: Domains) -> None:
    if not 1 <= len(domains.hosts) <= DOMAINS_MAX:
        raise FormatError("value", f"domains: {len(domains.hosts)} hosts; 1..{DOMAINS_MAX} can be held")
    for host, domain_id in domains.hosts.items():
        if not host or not host.isascii() or host != host.lower():
            raise FormatError("value", f"domains: host {host!r} is not lower-case ASCII")
        if not isinstance(domain_id, int) or isinstance(domain_id, bool) or not 0 < domain_id < 2**31:
            raise FormatError("value", f"domains: id {domain_id!r} of {host} is not in 1..2^31-1")
    if domains.default_id not in domains.hosts.values():
        raise FormatError("value", f"domains: the default id {domains.default_id} has no host")
