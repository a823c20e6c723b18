"""What a tag may be called, and which names are the same tag; pure."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from control.errors import Error

NAME_LENGTH_MAX: Final = 64
# As the table's check `links_tags`. Every click of a link is counted once for each of its tags.
LINK_TAGS_MAX: Final = 10
# Of an installation: each tag that is clicked takes a row of statistics a day, of up to some ten kilobytes.
TAGS_MAX: Final = 10_000
# Control characters, halves of surrogate pairs, line and paragraph separators: none of them can be seen in a list.
_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})

# Documented as it is enforced by `parse_all`, which has problem codes of its own for it.
TagNames = Annotated[
    list[Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": NAME_LENGTH_MAX})]],
    Meta(extra_json_schema={"maxItems": LINK_TAGS_MAX}),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A row of tags."""

    id: int
    name: str


def parse_all(texts: Sequence[str], pointer: str = "/tags") -> dict[str, str]:
    """Key -> name of the tags that a link is to have, in their order, each once; raises Error("tag_invalid") or
    Error("too_many_tags")."""
    names: dict[str, str] = {}
    for index, text in enumerate(texts):
        if not is_name(text):
            raise Error(
                "tag_invalid",
                f"a tag has 1 to {NAME_LENGTH_MAX} characters, none of which is a control character",
                pointer=f"{pointer}/{index}",
            )
        names.setdefault(key_of(text), _name(text))
    if len(names) > LINK_TAGS_MAX:
        raise Error("too_many_tags", f"a link has at most {LINK_TAGS_MAX} tags, not {len(names)}", pointer=pointer)
    return names


def key_of(text: str) -> str:
    """The same for every spelling of a tag (Unicode's canonical caseless matching, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", _name(text)).casefold())


def is_name(text: str) -> bool:
    """Whether `text` can be a tag at all; what cannot, is not looked up."""
    return 0 < len(_name(text)) <= NAME_LENGTH_MAX and is_printable(text)


def is_printable(text: str) -> bool:
    """Whether `text` has only characters that a name may have."""
    return not any(unicodedata.category(character) in _REFUSED for character in text)


def _name(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
