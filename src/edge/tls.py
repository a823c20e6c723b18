"""TLS at the door: which certificate a client sees, what is spoken with it, and what became of the handshakes.

    ClientHello ─▶ entry context ─▶ its SNI callback picks the context of a certificate ─▶ … ─▶ Connection

The exact host wins over a wildcard of one label, and that over the pair `default`. A client that names no host, or one
without a certificate, gets `default`; where there is none the handshake ends with unrecognized_name (RFC 6066, 3).

Sessions are resumed by tickets. Their key lives in the entry context, so it is a worker's own and as old as the worker:
a client that comes back to another worker, or after a roll, makes a full handshake and notices nothing. (The ssl module
has no way to give several processes one ticket key.)
"""

import ssl
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from edge._counters import Counters
from edge.certificates import Certificate, load

T = TypeVar("T")

# Mozilla's "intermediate" guideline 5.7 (wiki.mozilla.org/Security/Server_Side_TLS) without its DHE suites, which only
# clients of before 2013 need, and which need parameters of their own. TLS 1.3's suites are OpenSSL's, all of them good.
CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
PROTOCOLS: Final = ("http/1.1",)
# For the peer's close_notify after ours. By then its answer is sent; RFC 8446, 6.1, lets us not wait for it at all.
CLOSE_TIMEOUT_S: Final = 1


class Names(Generic[T]):
    """What stands for each host: exact, by wildcard, by default."""

    def __init__(self, entries: Iterable[tuple[Certificate, T]]) -> None:
        self._hosts: dict[str, T] = {}
        self._default: T | None = None
        # Of two certificates for one host the one that lives longer stands: a renewal may lie beside what it renews.
        for certificate, value in sorted(entries, key=lambda entry: entry[0].not_after_s):
            self._hosts.update(dict.fromkeys(certificate.hosts, value))
            if certificate.is_default:
                self._default = value

    def find(self, host: str | None) -> T | None:
        """What stands for the host that a client named, or None."""
        if not host:
            return self._default
        host = host.lower()
        exact = self._hosts.get(host)
        if exact is not None:
            return exact
        wildcard = self._hosts.get("*." + host.partition(".")[2])
        return wildcard if wildcard is not None else self._default


def server_context(certificates: Iterable[Certificate], counters: Counters) -> ssl.SSLContext:
    """The context that a worker's TLS listeners start every handshake with."""
    names = Names((certificate, _context(certificate.pem)) for certificate in certificates)
    entry = _context()
    entry.sslobject_class = _counting(counters)

    def select(handshake: ssl.SSLObject, host: str | None, _: ssl.SSLContext) -> int | None:
        context = names.find(host)
        if context is None:
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        handshake.context = context
        return None

    entry.sni_callback = select
    return entry


def _context(pem: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    # A client knows best which of these its hardware is fast at; renegotiation is work that anyone could ask for.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if pem is not None:
        load(context, pem)
    return context


def _counting(counters: Counters) -> type[ssl.SSLObject]:
    """The class of one connection's TLS state that counts how its handshake ended.

    The loop tells nobody about a handshake that failed; what it drives through the context's class does.
    """

    class Handshake(ssl.SSLObject):
        is_open = True

        def do_handshake(self) -> None:
            """Called by the loop for each piece that the client sent."""
            if not self.is_open:
                raise ssl.SSLError("the handshake was refused")
            try:
                super().do_handshake()
            except ssl.SSLWantReadError:
                raise
            except ssl.SSLError as error:
                self._end("tls_refused")
                # At an error the loop closes the connection and forgets what is to be sent: the alert that tells the
                # client why. So it is made to go on; it ends when the client does, or at the handshake's deadline.
                raise ssl.SSLWantReadError from error
            self._end("tls_resumed" if self.session_reused else "tls_full")

        def _end(self, counter: str) -> None:
            self.is_open = False
            counters.add(counter)

        def __del__(self) -> None:
            # The client left, or the time was over: the loop drops the object without a word.
            if self.is_open:
                counters.add("tls_abandoned")

    return Handshake
