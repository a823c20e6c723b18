"""The edge's certificates: read and checked by the supervisor, handed to the workers as they were checked.

A worker reads no file. So one that is started again after a crash shows what its predecessor showed, whatever has been
written to the directory meanwhile, and a renewal that is half copied is never served.

A pair is read by a TLS handshake with itself, in memory: the standard library decodes a certificate for a peer only. It
proves at once what matters: the key belongs to the certificate, and a client with the right date would take it.
"""

import contextlib
import os
import re
import ssl
from pathlib import Path
from typing import Any, Final

import msgspec

from edge._tls import TICKET_KEY_BYTES
from edge.errors import EdgeError
from edge.memory import memory_file, path_of

CERTIFICATES_MAX: Final = 256  # each costs every worker 20 KB and 3 ms of its start, and the metrics a series
PEM_BYTES_MAX: Final = 256 * 1024  # a chain of RSA 4096 has about 8 KB
NAME: Final = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*-]{0,252}")  # it becomes the label of a metric
DEFAULT: Final = "default"  # the name of the pair for clients that name no host, or an unknown one
TURNS_MAX: Final = 10  # of a handshake in memory; TLS 1.2 takes four


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One pair. `name` is that of its files; `hosts` what it is for, lower case, a wildcard as `*.example.com`."""

    name: str
    hosts: tuple[str, ...]
    not_after_s: int
    pem: str

    @property
    def is_default(self) -> bool:
        """Whether it is for clients that name no host that has a certificate."""
        return self.name == DEFAULT


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker shows and knows in handshakes. `ticket_key` seals the tickets by which sessions are resumed."""

    certificates: tuple[Certificate, ...]
    ticket_key: bytes


NONE: Final = Credentials(certificates=(), ticket_key=b"")


def encode(credentials: Credentials) -> bytes:
    """For the file in memory that a worker inherits."""
    return msgspec.json.encode(credentials)


def decode(data: bytes) -> Credentials:
    """What `encode` made."""
    return msgspec.json.decode(data, type=Credentials)


def read(directory: str) -> Credentials:
    """All pairs `<name>.crt` and `<name>.key` of a directory, and a new ticket key.

    Raises EdgeError if one of the pairs cannot be served.
    """
    folder = Path(directory)
    try:
        chains = {file.stem: file for file in folder.iterdir() if file.suffix == ".crt"}
        keys = {file.stem: file for file in folder.iterdir() if file.suffix == ".key"}
    except OSError as error:
        raise EdgeError(f"cannot read the directory of certificates {folder}: {error.strerror}") from error
    for name in sorted(chains | keys):
        if not NAME.fullmatch(name):
            raise EdgeError(f"{folder}: {name!r} is no name for a certificate; it has letters, digits and .-_* only")
    if not chains:
        raise EdgeError(f"there is no certificate in {folder}: put <name>.crt and <name>.key there, or turn TLS off")
    if len(chains) > CERTIFICATES_MAX:
        raise EdgeError(f"{folder} has {len(chains)} certificates, more than {CERTIFICATES_MAX}")
    for name in sorted(chains.keys() ^ keys.keys()):
        missing = "key" if name in chains else "crt"
        raise EdgeError(f"{folder / name}.{missing} is missing: a certificate and its key go together")
    return Credentials(
        certificates=tuple(_read_pair(chains[name], keys[name]) for name in sorted(chains)),
        ticket_key=os.urandom(TICKET_KEY_BYTES),
    )


def _read_pair(chain_file: Path, key_file: Path) -> Certificate:
    name = chain_file.stem
    chain, key = _read_pem(chain_file), _read_pem(key_file)
    found = _shake_hands(chain_file, chain, key)
    hosts = tuple(sorted({value.lower() for kind, value in found.get("subjectAltName", ()) if kind == "DNS"}))
    if not hosts and name != DEFAULT:
        raise EdgeError(f"{chain_file} names no host (subjectAltName); only the pair `{DEFAULT}` may do so")
    not_after_s = int(ssl.cert_time_to_seconds(found["notAfter"]))
    return Certificate(name=name, hosts=hosts, not_after_s=not_after_s, pem=f"{chain}\n{key}\n")


def _read_pem(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        raise EdgeError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > PEM_BYTES_MAX:
        raise EdgeError(f"{file} has more than {PEM_BYTES_MAX} bytes; it should hold one chain or one key")
    if b"-----BEGIN " not in data or not data.isascii():
        raise EdgeError(f"{file} is not in PEM format")
    return data.decode("ascii")


def load(context: ssl.SSLContext, pem: str) -> None:
    """Let the context show a certificate; `pem` is its chain and its key. Raises ssl.SSLError."""
    with memory_file("pointsman-certificate", pem.encode("ascii")) as descriptor:
        # Without a password's function OpenSSL would ask for one on the terminal.
        context.load_cert_chain(path_of(descriptor), password=_no_password)


def _no_password() -> str:
    raise EdgeError("its key is encrypted; the edge cannot ask for a password")


def _shake_hands(file: Path, chain: str, key: str) -> dict[str, Any]:
    """What a client learns of the certificate; raises EdgeError, naming the file, where a client would refuse it."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load(server, f"{chain}\n{key}\n")
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        # Trust the certificate itself: who has signed it is the public clients' concern.
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(cadata=chain)
        return _peer_certificate(client, server)
    except ssl.SSLCertVerificationError as error:
        raise EdgeError(f"{file} cannot be served: {error.verify_message}") from error
    except EdgeError as error:
        raise EdgeError(f"{file} cannot be served: {error}") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise EdgeError(f"{file} cannot be served: {file.stem}.key is the key of another certificate") from error
        raise EdgeError(f"{file} or its key cannot be used: {error.reason or error}") from error


def _peer_certificate(client_side: ssl.SSLContext, server_side: ssl.SSLContext) -> dict[str, Any]:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(TURNS_MAX):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert() or {}
