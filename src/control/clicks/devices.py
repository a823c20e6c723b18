"""What kind of device a User-Agent comes from.

ua-parser names models, thousands of them; a breakdown needs the kind. It follows from the system and from a few words
that makers of browsers have agreed upon: a phone's browser says "Mobile", a tablet's with Android does not
(https://developer.chrome.com/docs/multidevice/user-agent).
"""

from typing import Final

import ua_parser_rs

PHONE: Final = "phone"
TABLET: Final = "tablet"
DESKTOP: Final = "desktop"
TELEVISION: Final = "television"
CONSOLE: Final = "console"
WATCH: Final = "watch"
UNKNOWN: Final = ""

# The first row that matches decides. Televisions and consoles name the system that they are made of, too; Internet
# Explorer says "Tablet PC" on every Windows with a pen's driver; an iPad since 2019 says that it is a Mac.
_WORDS: Final = (
    (CONSOLE, "PlayStation|Xbox|Nintendo"),
    (
        TELEVISION,
        "Smart-?TV|Apple ?TV|Google ?TV|Android TV|Bravia|CrKey|Roku|Web0S|HbbTV|NetCast|Viera|; AFT|TV Safari",
    ),
    (WATCH, r"watchOS|Watch OS|Apple Watch|Wear OS|SM-R\d"),
    (TABLET, "iPad|PlayBook|Kindle|Silk/|Tablet;"),
    (PHONE, "iPhone|iPod|Windows Phone|KaiOS|Opera Mini|BlackBerry|BB10|Symb"),
    (PHONE, "Android.*Mobile"),
    (TABLET, "Android"),
)
_DESKTOPS: Final = frozenset(
    {"Windows", "Mac OS X", "Mac OS", "Chrome OS", "FreeBSD", "OpenBSD", "NetBSD", "Solaris"}
    | {"Linux", "Ubuntu", "Debian", "Fedora", "Red Hat", "SUSE", "Arch Linux", "Gentoo", "Linux Mint", "CentOS"}
)


class Devices:
    """The compiled words."""

    def __init__(self) -> None:
        rows = ((f"(?i){words}", kind, None, None, None, None) for kind, words in _WORDS)
        self._words = ua_parser_rs.UserAgentExtractor(rows)

    def kind_of(self, agent: str, system: str) -> str:
        """The kind of device; `system` is the family that ua-parser calls the OS."""
        found = self._words.extract(agent)
        if found is not None:
            return str(found.family)
        return DESKTOP if system in _DESKTOPS else UNKNOWN
