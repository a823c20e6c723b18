"""Merging a batch into the day documents, under the lock of `store.begin_merge`."""

import asyncio
from collections.abc import Sequence
from typing import Final

from control.clicks import store
from control.clicks._fold import DOCUMENT_BYTES_MAX, LINK_SCOPE, Batch, FoldError, Groups
from control.clicks.model import Dead
from control.db import Connection

# Of the documents that are read, merged and written at a time, if all were as large as they can be: some thousands of
# links. Without it the links and tags of one batch could take more memory than there is, and more than PostgreSQL takes
# in one message.
PAGE_BYTES_MAX: Final = 128 * 1024 * 1024

Documents = Sequence[bytes | None]
_SCOPE_NAMES: Final = ("link", "domain", "tag", "account", "unknown codes of domain")


async def merge(connection: Connection, batch: Batch, links: Groups) -> list[Dead]:
    """Merge links first, then the scopes that list them; `links` are `batch.links()`.

    Returns stored documents that could not be read. Each was replaced by one that begins with this batch: a document
    that stayed would stop every batch that touches its subject, and a hot link is in every batch.
    """
    dead = await _merge_scope(connection, LINK_SCOPE, links)
    for scope, groups in (await asyncio.to_thread(batch.scopes, links)).items():
        dead += await _merge_scope(connection, scope, groups)
    return dead


async def _merge_scope(connection: Connection, scope: int, groups: Groups) -> list[Dead]:
    keys = list(zip(groups.subjects, groups.days, strict=True))
    page = PAGE_BYTES_MAX // DOCUMENT_BYTES_MAX[scope]
    dead: list[Dead] = []
    for first in range(0, len(keys), page):
        part = keys[first : first + page]
        documents = await store.documents(connection, scope, part)
        merged, unreadable = await _merged(groups, first, documents)
        await store.save_documents(connection, scope, part, groups.clicks[first:], merged)
        dead += (_dead(scope, *part[at], fault, documents[at]) for at, fault in unreadable)
    return dead


async def _merged(groups: Groups, first: int, documents: Documents) -> tuple[list[bytes], list[tuple[int, str]]]:
    """The merged documents, and which of the old ones could not be read, and why."""
    try:
        return await asyncio.to_thread(groups.merge, documents, first), []
    except FoldError:
        faults = groups.faults(documents, first)
        if not any(faults):
            raise
        readable = [None if fault else document for document, fault in zip(documents, faults, strict=True)]
        merged = await asyncio.to_thread(groups.merge, readable, first)
        return merged, [(at, fault) for at, fault in enumerate(faults) if fault]


def _dead(scope: int, subject: int, day: int, fault: str, document: bytes | None) -> Dead:
    message = f"the document of {_SCOPE_NAMES[scope]} {subject} of day {day} is malformed: {fault}"
    return Dead(shard_id="", reason="document", message=message, data=document or b"")
