"""Certificates for tests, made by the openssl program, each signed by itself: EC P-256, where nothing else is said."""

import subprocess
from pathlib import Path
from typing import Final

# `openssl ca` is the only command of OpenSSL 3.0 that makes a certificate for a time that is over.
AUTHORITY = """
[ca]
default_ca = self
[self]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = {names}
"""


EC: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
SLOW: Final = ("-newkey", "rsa:4096")  # a signature takes milliseconds


def make_certificate(folder: Path, name: str, *hosts: str, days: int = 30, kind: tuple[str, ...] = EC) -> Path:
    """Write the pair <name>.crt and <name>.key for these hosts; the path of the certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    chain, key = folder / f"{name}.crt", folder / f"{name}.key"
    extension = ["-addext", f"subjectAltName={_names(hosts)}"] if hosts else []
    _openssl("req", "-x509", *_new_key(key, kind), *extension, "-days", str(days), "-out", chain)
    return chain


def make_expired_certificate(folder: Path, name: str, host: str) -> Path:
    """The same for a time that is over."""
    folder.mkdir(parents=True, exist_ok=True)
    chain, key, request = folder / f"{name}.crt", folder / f"{name}.key", folder / "request"
    settings = folder / "authority.cnf"
    settings.write_text(AUTHORITY.format(folder=folder, names=_names((host,))))
    (folder / "index").touch()
    _openssl("req", "-new", *_new_key(key, EC), "-out", request)
    span = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
    _openssl("ca", "-batch", "-selfsign", "-config", settings, "-keyfile", key, "-in", request, *span, "-out", chain)
    return chain


def _names(hosts: tuple[str, ...]) -> str:
    return ",".join(f"DNS:{host}" for host in hosts)


def _new_key(file: Path, kind: tuple[str, ...]) -> tuple[str, ...]:
    return (*kind, "-nodes", "-keyout", str(file), "-subj", "/CN=test")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
