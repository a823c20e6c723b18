"""The one kind of certificate that all rivals with TLS show: ECDSA over P-256, signed by itself."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.environment import which

NAME: Final = "localhost"
FILES: Final = "default"  # so the edge also shows it to clients that name no host


@dataclass(frozen=True, slots=True)
class Certificate:
    """Both files are PEM."""

    certificate: Path
    key: Path


def write(directory: Path) -> Certificate:
    """Make one in the directory."""
    files = Certificate(directory / f"{FILES}.crt", directory / f"{FILES}.key")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    whom = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    output = ["-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *whom, *output], check=True, capture_output=True)
    return files


def missing() -> str:
    """What is not there to make one."""
    return "" if which("openssl") else "no openssl: apt-get install openssl"
