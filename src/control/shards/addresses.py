"""Addresses of shards as people are shown them: without passwords; pure."""

import re
from typing import Final

HIDDEN: Final = "***"
# user:password@ ahead of the host. The last @ counts: a password may have one that nobody has escaped.
_CREDENTIALS: Final = re.compile(r"^([a-z+]+://[^:@/]*):.*@", re.IGNORECASE | re.DOTALL)
_PARAMETER: Final = re.compile(r"([?&]password=)[^&#]*", re.IGNORECASE)


def redacted(url: str) -> str:
    """The URL with *** for its password, wherever a client would take one from."""
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _CREDENTIALS.sub(rf"\g<1>:{HIDDEN}@", url))
