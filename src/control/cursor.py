"""The cursors of lists: where a page ended, in a form that clients only hand back."""

import base64
import binascii

from control.errors import Error


def encode(place: bytes) -> str:
    """The `next_cursor` of a page that ends at `place`."""
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def decode(cursor: str) -> bytes:
    """What `encode` was given; raises Error("query_invalid") for what it never gave."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise invalid() from error


def invalid() -> Error:
    """What a cursor is refused with."""
    return Error("query_invalid", "the cursor is none that a list has given")
