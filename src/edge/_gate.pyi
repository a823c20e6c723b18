"""The way in for requests that another server has read."""

from edge._connection import Tier
from edge._front import Answer, Front
from edge.config import EdgeConfig

Whole = tuple[int, list[tuple[str, str]], bytes]
"""Status, fields with names in lower case, body. The lists are shared and must not be changed."""

class Visitor:
    """Who sends a request, as its server tells: for its click. To be used for one request.

    Without an address (an IPv4 or IPv6 one, else ValueError) the client is not known.
    """

    def __init__(
        self, method: str, user_agent: bytes, referrer: bytes, query: bytes, address: str | None, has_opted_out: bool
    ) -> None: ...

class Gate:
    """Answers requests as the door does, with the fields that `config` adds to plain answers or to those over TLS."""

    def __init__(self, front: Front, config: EdgeConfig, is_tls: bool) -> None: ...
    def answer(self, method: str, host: str | None, path: str, visitor: Visitor | None) -> Whole | tuple[bytes, int]:
        """The answer to a request, or the key and its hash if its link has to be looked up.

        `host` is empty for an HTTP/1.0 request without one, and None where there is none that could be read. Without a
        visitor no click is recorded.
        """

    def answered(self, answer: Answer, tier: Tier, visitor: Visitor | None) -> Whole:
        """The answer that a look-up led to; the visitor is the one that `answer` was given."""

    def refusal(self) -> Whole:
        """The answer to a client whose budget for unknown codes is spent."""
