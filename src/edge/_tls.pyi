"""OpenSSL's contexts: which certificate a handshake shows, what it takes, how its session is taken up again."""

from collections.abc import Callable, Sequence
from typing import Final

TICKET_KEY_BYTES: Final[int]
"""Of the key that seals session tickets."""

class Contexts:
    """A worker's certificates, ready for handshakes."""

    def __init__(
        self, pems: Sequence[bytes], find: Callable[[str | None], int | None], ciphers: bytes, ticket_key: bytes
    ) -> None:
        """`pems` are chains with their keys. `find` gives the number of the one for the host that a client named (None:
        it named none), or None to refuse it. Raises ValueError for what OpenSSL does not take."""
