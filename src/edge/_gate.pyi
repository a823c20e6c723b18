"""The way in for requests that another server has read."""

from edge._connection import Tier
from edge._front import Answer, Front
from edge.config import EdgeConfig

Whole = tuple[int, list[tuple[str, str]], bytes]
"""Status, fields with names in lower case, body. The lists are shared and must not be changed."""

class Gate:
    """Answers requests as the door does, with the fields that `config` adds to plain answers or to those over TLS."""

    def __init__(self, front: Front, config: EdgeConfig, is_tls: bool) -> None: ...
    def answer(self, method: str, host: str | None, path: str) -> Whole | tuple[bytes, int]:
        """The answer to a request, or the key and its hash if its link has to be looked up.

        `host` is empty for an HTTP/1.0 request without one, and None where there is none that could be read.
        """

    def answered(self, answer: Answer, tier: Tier) -> Whole:
        """The answer that a look-up led to."""

    def refusal(self) -> Whole:
        """The answer to a client whose budget for unknown codes is spent."""
