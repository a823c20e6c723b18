"""Merging a batch into the day documents, under the lock of `store.begin_merge`."""

import asyncio
from collections.abc import Sequence
from typing import Final

from control.clicks import store
from control.clicks._fold import LINK_SCOPE, Batch, FoldError, Groups
from control.clicks.model import Dead
from control.db import Connection

Documents = Sequence[bytes | None]
_SCOPE_NAMES: Final = ("link", "domain", "tag", "account", "unknown codes of domain")


async def merge(connection: Connection, batch: Batch, links: Groups) -> list[Dead]:
    """Merge links first, then the scopes that list them; `links` are `batch.links()`.

    Returns stored documents that could not be read. Each was replaced by one that begins with this batch: a document
    that stayed would stop every batch that touches its subject, and a hot link is in every batch.
    """
    documents = await store.link_documents(connection, links)
    merged, dead = await _merged(LINK_SCOPE, links, documents)
    await store.save_link_documents(connection, links, merged)
    for scope, groups in (await asyncio.to_thread(batch.scopes, links)).items():
        if groups.subjects:
            dead += await _merge_scope(connection, scope, groups)
    return dead


async def _merge_scope(connection: Connection, scope: int, groups: Groups) -> list[Dead]:
    documents = await store.scope_documents(connection, scope, groups)
    merged, dead = await _merged(scope, groups, documents)
    await store.save_scope_documents(connection, scope, groups, merged)
    return dead


async def _merged(scope: int, groups: Groups, documents: Documents) -> tuple[list[bytes], list[Dead]]:
    try:
        return await asyncio.to_thread(groups.merge, documents), []
    except FoldError:
        faults = groups.faults(documents)
        if not any(faults):
            raise
        dead = [
            Dead(
                shard_id="",
                reason="document",
                message=f"the document of {_SCOPE_NAMES[scope]} {subject} of day {day} is malformed: {fault}",
                data=document,
            )
            for subject, day, document, fault in zip(groups.subjects, groups.days, documents, faults, strict=True)
            if fault and document is not None
        ]
        readable = [None if fault else document for document, fault in zip(documents, faults, strict=True)]
        return await asyncio.to_thread(groups.merge, readable), dead
