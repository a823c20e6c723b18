"""Creating, reading, changing and deleting links."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import ada_url
from msgspec import UNSET

from control.db import Connection, Database
from control.domains import model as domain_model
from control.domains import store as domain_store
from control.domains.model import Domain
from control.errors import Error
from control.links import model, store, target
from control.links.model import Content, Link, LinkPatch, LinkView, NewLink
from control.tags import model as tag_model
from control.tags import service as tag_service
from edge._fast import CodePermutation

# Each generated code that collides with a custom one costs another statement; eight in a row are no accident.
CODE_TRIES_MAX: Final = 8
ID_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The versions that a client requires: in If-Match (412 if it has changed) or in the body (409)."""

    if_match: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A committed change: which link got which version, and how it looks (after a deletion: how it last looked)."""

    link_id: int
    version: int
    view: LinkView
    is_default_domain: bool


class Links:
    """The rules about links; `on_commit` is called after each change, to wake the projector of this process."""

    def __init__(self, database: Database, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._on_commit = on_commit
        self._permutation: CodePermutation | None = None

    async def create(self, new: NewLink) -> Change:
        """Create a link; raises Error("code_taken") and what validation raises."""
        url = target.parse(new.target)
        model.check_window(new.not_before, new.not_after)
        model.check_cache_max_age(new.cache_max_age_s)
        if new.code is not None:
            model.check_code(new.code)
        tags = tag_model.parse_all(new.tags)
        async with self._database.transaction() as connection:
            domain = await _domain(connection, new.domain)
            await _check_loop(connection, url)
            content = model.content_of(new, url.href, await tag_service.resolve(connection, tags))
            if new.code is None:
                link = await self._insert_generated(connection, domain, content)
            else:
                link = await _insert_custom(connection, domain, new.code, content)
        self._on_commit()
        return _change(link, domain)

    async def get(self, host: str | None, code: str) -> LinkView:
        """The link at a code; raises Error("link_not_found")."""
        async with self._database.connection() as connection:
            domain = await _domain(connection, host)
            link = await store.find(connection, domain.id, code) if model.is_code(code) else None
        return model.view(_found(link, domain, code), domain)

    async def page(self, before_id: int | None, limit: int, tag_name: str | None = None) -> list[LinkView]:
        """At most `limit` links of all domains, newest first, from below an id on; only those with a tag, if given.

        Raises Error("tag_not_found").
        """
        before_id = ID_MAX if before_id is None else before_id
        async with self._database.connection() as connection:
            if tag_name is None:
                links = await store.page(connection, before_id, limit)
            else:
                tag = await tag_service.find(connection, tag_name)
                links = await store.page_of_tag(connection, tag.id, before_id, limit)
            domains = await domain_store.by_ids(connection, list({link.domain_id for link in links}))
        return [model.view(link, domains[link.domain_id]) for link in links]

    async def update(self, host: str | None, code: str, patch: LinkPatch, condition: Condition) -> Change:
        """Change a link; raises Error for a missing link, a version that has passed, or a bad value."""
        if model.is_empty(patch):
            raise Error("patch_empty", "the body changes nothing; give at least one member besides version")
        url = None if patch.target is UNSET else target.parse(patch.target)
        tags = {} if patch.tags is UNSET else tag_model.parse_all(patch.tags)
        async with self._database.transaction() as connection:
            domain = await _domain(connection, host)
            if url is not None:
                await _check_loop(connection, url)
            tag_ids = await tag_service.resolve(connection, tags)
            link = await _lock(connection, domain, code)
            _check_condition(link, condition)
            content = model.apply(patch, link.content, None if url is None else url.href, tag_ids)
            link = await store.update(connection, link.id, content)
        self._on_commit()
        return _change(link, domain)

    async def delete(self, host: str | None, code: str, condition: Condition) -> Change:
        """Delete a link; raises Error for a missing link or a version that has passed."""
        async with self._database.transaction() as connection:
            domain = await _domain(connection, host)
            link = await _lock(connection, domain, code)
            _check_condition(link, condition)
            link = await store.delete(connection, link.id)
        self._on_commit()
        return _change(link, domain)

    async def _insert_generated(self, connection: Connection, domain: Domain, content: Content) -> Link:
        if self._permutation is None:
            self._permutation = CodePermutation(await store.code_key(connection))
        for _ in range(CODE_TRIES_MAX):
            code = self._permutation.code(await store.next_code_number(connection))
            key_hash = model.stored_hash(domain.id, code)
            link = await store.insert(connection, domain.id, code, key_hash, content, is_custom=False)
            if link is not None:
                return link
        raise Error("internal", f"{CODE_TRIES_MAX} generated codes in a row were taken")


def _change(link: Link, domain: Domain) -> Change:
    view = model.view(link, domain)
    return Change(link_id=link.id, version=link.version, view=view, is_default_domain=domain.is_default)


async def _insert_custom(connection: Connection, domain: Domain, code: str, content: Content) -> Link:
    key_hash = model.stored_hash(domain.id, code)
    link = await store.insert(connection, domain.id, code, key_hash, content, is_custom=True)
    if link is None:
        raise Error("code_taken", f"the code {code} is taken at {domain.host}; choose another", pointer="/code")
    return link


async def _domain(connection: Connection, host: str | None) -> Domain:
    domain = None
    if host is None or domain_model.could_be_host(host):
        domain = await domain_store.find(connection, None if host is None else host.lower())
    if domain is None and host is None:
        raise Error("not_ready", "the default domain is being set up; try again")
    if domain is None:
        raise Error("domain_not_found", f"{host} is no short domain of this service")
    return domain


async def _check_loop(connection: Connection, url: ada_url.URL) -> None:
    if await domain_store.exists_any(connection, domain_model.hosts_reached(url)):
        raise Error("target_loop", f"the target is at {url.host}, a short domain itself", pointer=target.POINTER)


async def _lock(connection: Connection, domain: Domain, code: str) -> Link:
    link = await store.find_for_update(connection, domain.id, code) if model.is_code(code) else None
    return _found(link, domain, code)


def _found(link: Link | None, domain: Domain, code: str) -> Link:
    if link is None:
        raise Error("link_not_found", f"there is no link {code[: model.CODE_LENGTH_MAX]!r} at {domain.host}")
    return link


def _check_condition(link: Link, condition: Condition) -> None:
    if condition.if_match is not None and condition.if_match != link.version:
        raise Error("precondition_failed", f"the link has version {link.version}; read it again")
    if condition.version is not None and condition.version != link.version:
        raise Error(
            "version_conflict",
            f"the link has version {link.version}; read it again",
            pointer="/version",
        )
