"""Redis Sentinels: which ones are set, and what one of them says of a primary.

A password stands in the setting, and nowhere else: what is wrong with the setting is told without quoting it.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from control.errors import Error
from control.shards import addresses
from control.shards.connection import raw_connection

PORT_DEFAULT: Final = 26379
_WATCHED: Final = re.compile(r"([a-z0-9-]+)=([^;]+)/([^/=;,@]+)")
_ADDRESS: Final = re.compile(r"[^:/@\s]+:\d{1,5}")
_DOWN: Final = frozenset({"s_down", "o_down"})

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Watched:
    """A shard, the name under which sentinels know it, and their URLs, which may hold passwords."""

    shard_id: str
    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Where a sentinel says that the primary is and its replicas are. `switches` rises with each switch that was
    agreed upon: a sentinel that was cut off has a lower one."""

    switches: int
    primary: Address
    replicas: tuple[Address, ...]


def parse(text: str) -> list[Watched]:
    """What POINTSMAN_SENTINELS says: `shard-0=host:26379,host:26379/name;…`; raises Error("setting_invalid").

    A sentinel that wants a password is a URL: redis://user:password@host:26379, or rediss:// for TLS.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    found = [_parse_one(number, part) for number, part in enumerate(parts, start=1)]
    if len({watched.shard_id for watched in found}) != len(found):
        raise Error("setting_invalid", "POINTSMAN_SENTINELS names a shard twice; one primary is followed for each")
    return found


def _parse_one(number: int, text: str) -> Watched:
    found = _WATCHED.fullmatch(text)
    if found is None:
        raise _invalid(number)
    return Watched(found[1], found[3], tuple(_url(number, item.strip()) for item in found[2].split(",")))


def _url(number: int, text: str) -> str:
    url = text if text.startswith(("redis://", "rediss://")) else f"redis://{text}"
    if url != text and not _ADDRESS.fullmatch(text):
        raise _invalid(number)
    try:
        addresses.check(url)
        parts = urlsplit(url)
        is_one = parts.hostname and not (parts.path or parts.query or parts.fragment)
    except (Error, ValueError):
        is_one = False
    if not is_one:
        raise _invalid(number)
    return url if parts.port else f"{url}:{PORT_DEFAULT}"


def _invalid(number: int) -> Error:
    return Error(
        "setting_invalid",
        f"POINTSMAN_SENTINELS: its part {number} is not like shard-0=host:26379,redis://user:password@host:26379/name; "
        "in a password, write / ? # @ , ; and % as %2F %3F %23 %40 %2C %3B and %25",
    )


async def best(name: str, urls: Sequence[str]) -> Outlook:
    """What the sentinel says that has seen most switches; all are asked at once. Raises Error if none can say.

    1. A sentinel agrees with others upon a switch, and is followed.
    2. It is away for a moment, and another one, cut off before the switch, names the primary of before.
    """
    answers = await asyncio.gather(*(ask(url, name) for url in urls), return_exceptions=True)
    outlooks: list[Outlook] = []
    reasons: list[str] = []
    for answer in answers:
        if isinstance(answer, Outlook):
            outlooks.append(answer)
        elif isinstance(answer, Error):
            reasons.append(answer.message)
        elif answer is not None:
            raise answer
    if not outlooks:
        raise Error("shard_unavailable", f"no sentinel names a primary of {name} that works; {'; '.join(reasons)}")
    return max(outlooks, key=lambda outlook: outlook.switches)


async def ask(url: str, name: str) -> Outlook | None:
    """What the sentinel says; None if it knows no such primary, or one that is down. Raises Error without an answer."""
    connection = raw_connection(url, protocol=2)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        primary = await _ask(connection, "MASTER", name)
        replicas = await _ask(connection, "REPLICAS", name)
        return _outlook(_fields(primary), map(_fields, replicas))
    except (RedisError, OSError, TimeoutError, ValueError, KeyError) as error:
        raise Error("shard_unavailable", f"the sentinel {_host(url)} names no primary {name}: {error}") from error
    finally:
        await connection.disconnect(nowait=True)


async def _ask(connection: Any, *command: str) -> Any:
    await connection.send_command("SENTINEL", *command, check_health=False)
    return await connection.read_response()


def _outlook(primary: dict[str, str], replicas: Any) -> Outlook | None:
    if _DOWN & set(primary["flags"].split(",")):
        return None
    return Outlook(
        switches=int(primary["config-epoch"]),
        primary=_address(primary),
        replicas=tuple(sorted(map(_address, replicas))),
    )


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    """RESP2 has no maps: names and values take turns."""
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _address(fields: dict[str, str]) -> Address:
    return fields["ip"], int(fields["port"])


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
