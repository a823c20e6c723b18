"""API keys and the parsing of the Authorization header; pure."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from control.errors import Error

PREFIX: Final = "pm_"
SECRET_BYTES: Final = 32
# How much of a key may be shown again, so that its owner recognises it.
HINT_LENGTH: Final = len(PREFIX) + 4
HEADER_LENGTH_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A stored key; its secret is not in it."""

    id: int
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None


def new_secret() -> str:
    """A new key as its owner sends it."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_of(secret: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode()).digest()


def secret_of(header: str | None) -> str:
    """The key in an Authorization header; raises Error("key_missing") or Error("key_invalid")."""
    if not header:
        raise Error("key_missing", "send the header Authorization: Bearer pm_…; `pointsman key create` makes a key")
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or len(header) > HEADER_LENGTH_MAX or not secret.startswith(PREFIX):
        raise Error("key_invalid", "the Authorization header holds no key of the form: Bearer pm_…")
    return secret.strip()
