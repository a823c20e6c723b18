"""Links as clients send and see them, and the pure rules about them."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from control.domains.model import Domain
from control.errors import Error
from control.tags.model import TagNames
from edge._fast import xxh64
from wire import keys
from wire.record import CACHE_MAX_AGE_S_MAX

CODE_LENGTH_MAX: Final = 64
_CODE: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
# Paths that browsers and crawlers ask of any host by themselves and that could be codes; the rest (robots.txt,
# favicon.ico, .well-known) has a dot, which no code has.
RESERVED_CODES: Final = frozenset({"healthz", "readyz", "metrics"})
HASH_OFFSET: Final = 2**63
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

Status = Literal[301, 302, 307, 308]
Instant = Annotated[datetime, Meta(tz=True)]
Version = Annotated[int, Meta(ge=1, le=2**32 - 1)]
# Documented as it is enforced by `check_cache_max_age`, which has a problem code of its own for it.
CacheMaxAge = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": CACHE_MAX_AGE_S_MAX})]


class NewLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that creates a link. Without `code` one is generated; without `domain` it is the default one's."""

    target: str
    code: str | None = None
    domain: str | None = None
    status: Status = 302
    is_enabled: bool = True
    not_before: Instant | None = None
    not_after: Instant | None = None
    cache_max_age_s: CacheMaxAge | None = None
    tags: TagNames = []


class LinkPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that changes a link: what is absent stays. With `version`, only if the link still has that version."""

    target: str | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    not_before: Instant | UnsetType | None = UNSET
    not_after: Instant | UnsetType | None = UNSET
    cache_max_age_s: CacheMaxAge | UnsetType | None = UNSET
    tags: TagNames | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """A link as answers show it."""

    id: int
    domain: str
    code: str
    short_url: str
    target: str
    status: Status
    is_enabled: bool
    not_before: datetime | None
    not_after: datetime | None
    cache_max_age_s: CacheMaxAge | None
    tags: TagNames
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a change can change; `tags` are ids."""

    target: str
    status: int
    is_enabled: bool
    not_before: datetime | None
    not_after: datetime | None
    cache_max_age_s: int | None
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A row of links that is not deleted; `tag_names` are those of its content's tags."""

    id: int
    domain_id: int
    code: str
    version: int
    content: Content
    tag_names: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


def key_hash(domain_id: int, code: str) -> int:
    """The hash by which a link is placed on the ring, 0..2^64-1."""
    return xxh64(keys.cache_key(domain_id, code))


def stored_hash(domain_id: int, code: str) -> int:
    """`key_hash` shifted into a signed bigint; the shift keeps the order, so an arc of the ring is an index range."""
    return key_hash(domain_id, code) - HASH_OFFSET


def is_code(text: str) -> bool:
    """Whether `text` has the form of a code; what has not, is not looked up."""
    return _CODE.fullmatch(text) is not None


def check_code(code: str) -> None:
    """Raises Error("code_invalid") or Error("code_reserved")."""
    if not is_code(code):
        raise Error("code_invalid", "a code has 1 to 64 of the characters 0-9 A-Z a-z _ -", pointer="/code")
    if code in RESERVED_CODES:
        raise Error("code_reserved", f"the code {code} is kept for the service itself; choose another", pointer="/code")


def check_window(not_before: datetime | None, not_after: datetime | None) -> None:
    """Raises Error("window_invalid") for a validity that no instant is in, or that begins or ends before 1970."""
    for name, instant in (("not_before", not_before), ("not_after", not_after)):
        if instant is not None and instant < EARLIEST:
            raise Error("window_invalid", f"{name} is before 1970", pointer=f"/{name}")
    if not_before is not None and not_after is not None and not_before >= not_after:
        raise Error("window_invalid", "not_after must be later than not_before", pointer="/not_after")


def check_cache_max_age(seconds: int | None) -> None:
    """Raises Error("cache_max_age_invalid") for a lifetime that the link record cannot hold."""
    if seconds is not None and not 0 <= seconds <= CACHE_MAX_AGE_S_MAX:
        raise Error(
            "cache_max_age_invalid",
            f"cache_max_age_s is 0 to {CACHE_MAX_AGE_S_MAX} seconds, a year; null is the default policy",
            pointer="/cache_max_age_s",
        )


def is_empty(patch: LinkPatch) -> bool:
    """Whether the patch changes nothing."""
    return all(getattr(patch, name) is UNSET for name in patch.__struct_fields__ if name != "version")


def content_of(new: NewLink, target: str, tags: tuple[int, ...]) -> Content:
    """The content of a new link; `target` is its target in its serialised form, `tags` the ids of its tags."""
    return Content(
        target=target,
        status=new.status,
        is_enabled=new.is_enabled,
        not_before=new.not_before,
        not_after=new.not_after,
        cache_max_age_s=new.cache_max_age_s,
        tags=tags,
    )


def apply(patch: LinkPatch, content: Content, target: str | None, tags: tuple[int, ...]) -> Content:
    """`content` with the patch applied; `target` is the patch's target in its serialised form, `tags` the ids of its
    tags."""
    changed = replace(
        content,
        target=content.target if target is None else target,
        status=content.status if patch.status is UNSET else patch.status,
        is_enabled=content.is_enabled if patch.is_enabled is UNSET else patch.is_enabled,
        not_before=content.not_before if patch.not_before is UNSET else patch.not_before,
        not_after=content.not_after if patch.not_after is UNSET else patch.not_after,
        cache_max_age_s=content.cache_max_age_s if patch.cache_max_age_s is UNSET else patch.cache_max_age_s,
        tags=content.tags if patch.tags is UNSET else tags,
    )
    check_window(changed.not_before, changed.not_after)
    check_cache_max_age(changed.cache_max_age_s)
    return changed


def view(link: Link, domain: Domain) -> LinkView:
    """What a client is shown."""
    content = link.content
    return LinkView(
        id=link.id,
        domain=domain.host,
        code=link.code,
        short_url=domain.short_url(link.code),
        target=content.target,
        status=content.status,  # type: ignore[arg-type]  # the column's check allows just these
        is_enabled=content.is_enabled,
        not_before=content.not_before,
        not_after=content.not_after,
        cache_max_age_s=content.cache_max_age_s,
        tags=list(link.tag_names),
        version=link.version,
        created_at=link.created_at,
        updated_at=link.updated_at,
    )
