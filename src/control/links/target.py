"""What may be a target: an absolute http(s) URL by the WHATWG URL standard (ada), less what would surprise; pure.

Three things that the standard accepts are refused here: schemes other than http and https, credentials, and control
characters (Unicode category Cc) or inner spaces, which the standard would silently drop or encode. Spaces around the
URL are dropped, as in the standard: they come with every second paste and mean nothing.
"""

import unicodedata
from typing import Final

import ada_url

from control.errors import Error
from wire.record import TARGET_BYTES_MAX

POINTER: Final = "/target"
_SCHEMES: Final = ("http:", "https:")


def parse(text: str) -> ada_url.URL:
    """The URL to store (its `href`); raises Error with the code of the first rule that `text` breaks."""
    text = text.strip(" ")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _refuse("target_invalid", "the target has half a surrogate pair, which is no character") from error
    if size > TARGET_BYTES_MAX:
        raise _refuse("target_too_long", f"the target has {size} bytes; at most {TARGET_BYTES_MAX} are kept")
    url = _parse_or_none(text)
    # The scheme is judged before the characters: `javascript:alert("a b")` is refused for what it is.
    if url is not None and url.protocol not in _SCHEMES:
        raise _refuse("target_scheme", f"the scheme is {url.protocol[:-1]}; only http and https are redirected")
    if _has_surprises(text):
        raise _refuse("target_characters", "the target has spaces or control characters inside; percent-encode them")
    if url is None:
        raise _refuse("target_invalid", "the target is no absolute URL, such as https://example.com/page")
    _check_parts(url)
    return url


def _parse_or_none(text: str) -> ada_url.URL | None:
    try:
        return ada_url.URL(text)
    except ValueError:
        return None


def _has_surprises(text: str) -> bool:
    if text.isascii() and text.isprintable():
        return " " in text
    return any(character == " " or unicodedata.category(character) == "Cc" for character in text)


def _check_parts(url: ada_url.URL) -> None:
    if url.username or url.password:
        raise _refuse("target_credentials", "the target has a user name or password; every visitor would be sent it")
    href = url.href
    if len(href) > TARGET_BYTES_MAX:
        raise _refuse(
            "target_too_long", f"the target has {len(href)} bytes when encoded; at most {TARGET_BYTES_MAX} are kept"
        )
    if not (href.isascii() and href.isprintable()) or " " in href:  # bytes 0x21-0x7e
        raise _refuse("target_invalid", "the target cannot be written in a Location header")


def _refuse(code: str, message: str) -> Error:
    return Error(code, message, pointer=POINTER)
