"""Rules about tags: they come with the first link that has them, and go by hand when no link has them."""

from collections.abc import Mapping

from control.db import Connection, Database
from control.errors import Error
from control.tags import model, store
from control.tags.model import Tag


async def resolve(connection: Connection, names: Mapping[str, str]) -> tuple[int, ...]:
    """The ids of tags (key -> name, see `model.parse_all`), in their order; those that are not there are created.

    To be called before the transaction locks a link. Raises Error("tags_exhausted").
    """
    if not names:
        return ()
    ids = await store.lock(connection, names)
    if len(ids) < len(names):
        await store.lock_creation(connection)
        ids = await store.lock(connection, names)  # again: somebody may have created them while we waited
        ids |= await _create(connection, {key: name for key, name in names.items() if key not in ids})
    return tuple(ids[key] for key in names)


async def find(connection: Connection, name: str) -> Tag:
    """The tag of a name; raises Error("tag_not_found")."""
    return _found(await store.find(connection, model.key_of(name)) if model.is_name(name) else None, name)


class Tags:
    """What can be done with tags apart from links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, after_key: str, limit: int) -> list[tuple[str, Tag]]:
        """At most `limit` tags with their keys, in the keys' order, from above a key on."""
        async with self._database.connection() as connection:
            return await store.page(connection, after_key, limit)

    async def delete(self, name: str) -> None:
        """Delete a tag that no link has; raises Error("tag_not_found") or Error("tag_in_use")."""
        async with self._database.transaction() as connection:
            is_name = model.is_name(name)
            tag = _found(await store.find_for_update(connection, model.key_of(name)) if is_name else None, name)
            if await store.is_used(connection, tag.id):
                raise Error("tag_in_use", f"links have the tag {tag.name!r}; take it from them first")
            await store.delete(connection, tag.id)


async def _create(connection: Connection, names: Mapping[str, str]) -> dict[str, int]:
    if not names:
        return {}
    count = await store.count(connection)
    if count + len(names) > model.TAGS_MAX:
        raise Error(
            "tags_exhausted",
            f"there are {count} tags, at most {model.TAGS_MAX} may be; delete some that no link has",
            pointer="/tags",
        )
    return await store.insert(connection, names)


def _found(tag: Tag | None, name: str) -> Tag:
    if tag is None:
        raise Error("tag_not_found", f"there is no tag {name[: model.NAME_LENGTH_MAX]!r}")
    return tag
