"""Certificates: which hosts a pair is for, and which pairs are refused, by name and with the reason."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edge import certificates
from edge.certificates import CERTIFICATES_MAX, PEM_BYTES_MAX, Certificate, read
from edge.errors import EdgeError
from edge.tls import Names
from tests.edge.authority import make_certificate, make_expired_certificate

DAY_S = 86_400


def test_pair_tells_its_hosts_and_its_end(tmp_path: Path) -> None:
    """Hosts come from the subjectAltName, lower case; the rest of the directory is ignored."""
    make_certificate(tmp_path, "shop", "Sho.RT", "*.sho.rt", days=10)
    make_certificate(tmp_path, "default")
    (tmp_path / "README").write_text("not a certificate")
    by_default, shop = read(str(tmp_path)).certificates
    assert (by_default.hosts, by_default.is_default) == ((), True)
    assert (shop.hosts, shop.is_default) == (("*.sho.rt", "sho.rt"), False)
    assert abs(shop.not_after_s - time.time() - 10 * DAY_S) < 60


def test_workers_get_what_was_read(tmp_path: Path) -> None:
    """Encoding and decoding change nothing."""
    make_certificate(tmp_path, "shop", "sho.rt")
    found = read(str(tmp_path))
    assert certificates.decode(certificates.encode(found)) == found
    assert read(str(tmp_path)).ticket_key != found.ticket_key


def test_expired_certificate_is_named(tmp_path: Path) -> None:
    """A pair whose time is over is not begun with."""
    chain = make_expired_certificate(tmp_path, "old", "sho.rt")
    with pytest.raises(EdgeError, match=f"^{chain} cannot be served: certificate has expired$"):
        read(str(tmp_path))


def test_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    """The usual mistake of a renewal: a new certificate beside an old key."""
    chain = make_certificate(tmp_path, "one", "one.example")
    make_certificate(tmp_path, "two", "two.example")
    shutil.copy(tmp_path / "two.key", tmp_path / "one.key")
    with pytest.raises(EdgeError, match=f"^{chain} cannot be served: one.key is the key of another certificate$"):
        read(str(tmp_path))


def test_encrypted_key_is_refused_without_a_question(tmp_path: Path) -> None:
    """Nobody is there who could type a password."""
    make_certificate(tmp_path, "one", "one.example")
    key = tmp_path / "one.key"
    command = ["openssl", "ec", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(EdgeError, match="its key is encrypted"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "one.key").unlink(), "one.key is missing"),
        (lambda folder: (folder / "one.crt").unlink(), "there is no certificate in"),
        (lambda folder: (folder / "two.key").write_text("x"), "two.crt is missing"),
        (lambda folder: (folder / "one.crt").write_text("x"), "one.crt is not in PEM format"),
        (lambda folder: (folder / "one.crt").write_text("-----BEGIN CERTIFICATE-----\n"), "one.crt or its key cannot"),
        (lambda folder: (folder / "one.key").write_bytes(b"x" * (PEM_BYTES_MAX + 1)), "one.key has more than"),
        (lambda folder: (folder / "one.crt").rename(folder / "o\x1be.crt"), "'o\\x1be' is no name"),
        (lambda folder: make_certificate(folder, "a b", "a.example"), "letters, digits"),
        (lambda folder: make_certificate(folder, "nameless"), "nameless.crt names no host"),
        (lambda folder: (folder / "one.crt").replace(folder / "x") and (folder / "one.crt").mkdir(), "Is a directory"),
        (shutil.rmtree, "cannot read the directory of certificates"),
    ],
)
def test_directory_that_cannot_be_served_is_refused(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    """The message names the file and what is wrong with it."""
    folder = tmp_path / "tls"
    make_certificate(folder, "one", "one.example")
    spoil(folder)
    with pytest.raises(EdgeError) as raised:
        read(str(folder))
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


def test_too_many_pairs_are_refused(tmp_path: Path) -> None:
    """The limit is told with the number found."""
    for number in range(CERTIFICATES_MAX + 1):
        (tmp_path / f"{number}.crt").touch()
    with pytest.raises(EdgeError, match=f"has {CERTIFICATES_MAX + 1} certificates, more than {CERTIFICATES_MAX}$"):
        read(str(tmp_path))


def test_host_selects_exact_then_wildcard_then_default() -> None:
    """A wildcard stands for one label; of two certificates for a host the one that lives longer is shown."""
    old = Certificate(name="old", hosts=("sho.rt", "*.sho.rt"), not_after_s=1, pem="")
    new = Certificate(name="new", hosts=("sho.rt",), not_after_s=2, pem="")
    other = Certificate(name="other", hosts=("www.sho.rt",), not_after_s=3, pem="")
    names = Names([(new, 0), (old, 1), (other, 2)])
    found = {host: names.find(host) for host in ("sho.rt", "SHO.RT", "www.sho.rt", "x.sho.rt", "a.b.sho.rt", "rt", "")}
    assert found == {
        "sho.rt": 0,
        "SHO.RT": 0,
        "www.sho.rt": 2,
        "x.sho.rt": 1,
        "a.b.sho.rt": None,
        "rt": None,
        "": None,
    }
    by_default = Certificate(name="default", hosts=(), not_after_s=1, pem="")
    names = Names([(old, 0), (by_default, 1)])
    assert [names.find(host) for host in ("sho.rt", "unknown.example", None)] == [0, 1, 1]
