"""Importing links from a file by COPY: checked as a whole first, then stored in bounded batches.

No outbox rows are written; the caller projects everything afterwards (`control.projection.rebuild`), with the shards
marked as incomplete before the first batch is committed.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from control.db import Connection, Database
from control.domains import model as domain_model
from control.domains import store as domain_store
from control.errors import Error
from control.links import model, target
from control.tags import service as tags

BATCH_ROWS: Final = 20_000
# The codes of the file are held in memory to find those that stand in it twice: about 150 bytes each.
ROWS_MAX: Final = 10_000_000
ERRORS_SHOWN: Final = 10
PROGRESS_ROWS: Final = 1000
# It reads some thirty thousand pages at most.
ANALYZE_TIMEOUT_S: Final = 120.0

_SECONDS: Final = re.compile(r"[0-9]{1,10}")
_STAGE: Final = """
CREATE TEMP TABLE stage (code text, key_hash bigint, target text, cache_max_age_s integer) ON COMMIT DROP
"""
_MERGE: Final = """
INSERT INTO links (domain_id, code, key_hash, target, cache_max_age_s, tags)
SELECT $1, code, key_hash, target, cache_max_age_s, $2 FROM stage
ON CONFLICT (domain_id, code) DO UPDATE SET
    id = nextval('link_ids'), version = links.version + 1, created_at = now(), updated_at = now(), deleted_at = NULL,
    target = excluded.target, status = 302, is_enabled = true, not_before = NULL, not_after = NULL,
    cache_max_age_s = excluded.cache_max_age_s, tags = excluded.tags
WHERE links.deleted_at IS NOT NULL
"""


class Row(NamedTuple):
    """A line that has been checked."""

    code: str
    target: str
    cache_max_age_s: int | None


@dataclass(slots=True)
class Imported:
    """What an import has done so far; `tag_names` (key -> name) are the tags that it gives to every link."""

    tag_names: dict[str, str]
    created: int = 0
    skipped: int = 0


async def read_hosts(database: Database) -> frozenset[str]:
    """The hosts that no target may have."""
    async with database.connection() as connection:
        domains = await domain_store.published(connection)
    if domains is None:
        raise Error("domain_not_found", "no short domain is set up yet; start `pointsman control` once")
    return frozenset(domains.hosts)


def check(file: Path, hosts: frozenset[str], checked: TextIO, on_progress: Callable[[int], None]) -> int:
    """Write the rows as they are to be stored to `checked`, which `load` reads, and return their number.

    Raises Error("import_invalid") with the first faults and their lines.
    """
    faults = []
    lines: dict[str, int] = {}
    for line, columns in _rows(file):
        try:
            row = _checked(columns, hosts)
            _check_first(row.code, lines.setdefault(row.code, line), line)
            checked.write(_written(row))
        except Error as error:
            faults.append(f"line {line}: {error.message} ({error.code})")
            if len(faults) == ERRORS_SHOWN:
                break
        if len(lines) % PROGRESS_ROWS == 0:
            on_progress(PROGRESS_ROWS)
    if faults:
        raise Error("import_invalid", f"{file} is not imported:\n" + "\n".join(faults))
    return len(lines)


async def load(database: Database, checked: TextIO, imported: Imported, on_progress: Callable[[int], None]) -> None:
    """Store the rows that `check` has written in the default domain, a transaction a batch."""
    checked.seek(0)
    rows = map(_read, checked)
    while batch := list(islice(rows, BATCH_ROWS)):
        async with database.transaction() as connection:
            created = await _load_batch(connection, batch, imported.tag_names)
        imported.created += created
        imported.skipped += len(batch) - created
        on_progress(len(batch))


async def analyze(database: Database) -> None:
    """Have PostgreSQL plan by the links that there are now; autovacuum would see to it in a minute.

    Raises Error("database_unavailable") if that lasts longer than ANALYZE_TIMEOUT_S.
    """
    async with database.connection() as connection:
        await connection.execute("ANALYZE (SKIP_LOCKED) links", timeout=ANALYZE_TIMEOUT_S)


def _written(row: Row) -> str:
    """A line that `_read` reads; neither code nor target has a space."""
    return f"{row.code} {row.target} {'' if row.cache_max_age_s is None else row.cache_max_age_s}\n"


def _read(line: str) -> Row:
    code, url, seconds = line.rstrip("\n").split(" ")
    return Row(code, url, int(seconds) if seconds else None)


async def _load_batch(connection: Connection, batch: list[Row], tag_names: dict[str, str]) -> int:
    domain = await domain_store.find(connection, None)
    assert domain is not None  # read_hosts has seen it
    tag_ids = await tags.resolve(connection, tag_names)
    await connection.execute(_STAGE)
    await connection.copy_records_to_table(
        "stage",
        records=[(row.code, model.stored_hash(domain.id, row.code), row.target, row.cache_max_age_s) for row in batch],
    )
    status: str = await connection.execute(_MERGE, domain.id, list(tag_ids))
    return int(status.rpartition(" ")[2])


def _check_first(code: str, first_line: int, line: int) -> None:
    if first_line != line:
        raise Error("code_taken", f"the code {code} stands in line {first_line} already")
    if line > ROWS_MAX:
        raise Error("import_invalid", f"a file has at most {ROWS_MAX} rows; split it")


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise Error("import_invalid", f"{file} is not UTF-8: {error}") from error
    except csv.Error as error:
        raise Error("import_invalid", f"{file}, line {reader.line_num}: {error}") from error


def _checked(columns: list[str], hosts: frozenset[str]) -> Row:
    if len(columns) not in (2, 3):
        raise Error(
            "import_invalid", f"a line has the columns code, target and, if wanted, cache_max_age_s, not {len(columns)}"
        )
    model.check_code(columns[0])
    url = target.parse(columns[1])
    if not hosts.isdisjoint(domain_model.hosts_reached(url)):
        raise Error("target_loop", f"the target is at {url.host}, a short domain itself")
    return Row(columns[0], url.href, _seconds(columns[2]) if len(columns) == 3 else None)


def _seconds(text: str) -> int | None:
    """The third column; empty means the default policy."""
    if not text:
        return None
    if _SECONDS.fullmatch(text) is None:
        raise Error("cache_max_age_invalid", "cache_max_age_s is no whole number of seconds")
    seconds = int(text)
    model.check_cache_max_age(seconds)
    return seconds
