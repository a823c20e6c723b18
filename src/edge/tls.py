"""TLS at the door: which certificate a client sees, and what is spoken with it.

The exact host wins over a wildcard of one label, and that over the pair `default`. A client that names no host, or one
without a certificate, gets `default`; where there is none the handshake ends with unrecognized_name (RFC 6066, 3).

TLS 1.2 and 1.3 with http/1.1 (`_tls`). Sessions are resumed by tickets. Their key is the edge's, as old as its
certificates: any worker resumes what another began; a client that comes back after a roll makes a full handshake and
notices nothing.
"""

from collections.abc import Iterable
from typing import Final

from edge._tls import Contexts
from edge.certificates import Certificate, Credentials

# Mozilla's "intermediate" guideline 5.7 (wiki.mozilla.org/Security/Server_Side_TLS) without its DHE suites, which only
# clients of before 2013 need, and which need parameters of their own. TLS 1.3's suites are OpenSSL's, all of them good.
CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


class Names:
    """The number of the certificate for each host: exact, by wildcard, by default."""

    def __init__(self, entries: Iterable[tuple[Certificate, int]]) -> None:
        self._hosts: dict[str, int] = {}
        self._default: int | None = None
        # Of two certificates for one host the one that lives longer stands: a renewal may lie beside what it renews.
        for certificate, number in sorted(entries, key=lambda entry: entry[0].not_after_s):
            self._hosts.update(dict.fromkeys(certificate.hosts, number))
            if certificate.is_default:
                self._default = number

    def find(self, host: str | None) -> int | None:
        """The certificate for the host that a client named, or None."""
        if not host:
            return self._default
        host = host.lower()
        exact = self._hosts.get(host)
        if exact is not None:
            return exact
        wildcard = self._hosts.get("*." + host.partition(".")[2])
        return wildcard if wildcard is not None else self._default


def contexts(credentials: Credentials) -> Contexts:
    """What the TLS listeners of a worker start every handshake with."""
    names = Names((certificate, number) for number, certificate in enumerate(credentials.certificates))
    pems = [certificate.pem.encode("ascii") for certificate in credentials.certificates]
    return Contexts(pems, names.find, CIPHERS, credentials.ticket_key)
