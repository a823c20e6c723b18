"""Links read from PostgreSQL in pages, as what shards are told of them; no link becomes a Python object by itself.

query = f"SELECT {COLUMNS} FROM unnest($1::bigint[], $2::bigint[], $3::int[]) AS arc (first, last, target) JOIN links …"
reader = Reader(len(targets), connection.scripts["write"])

async def take(data: bytearray) -> None:
    reader.feed(data)                       # and write what `reader.pending_bytes` says has come together

await connection.copy_from_query(query, firsts, lasts, targets, output=take, format="binary")
reader.finish()
batch = reader.take(0)
writer.write(b"".join(batch.commands))                      # one integer reply for each command
batch.compare(values)                                       # or: what MGET of batch.keys answered
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, final

COLUMNS: Final[str]
"""What `Reader.feed` expects of a query, in this order: columns of `links l`, then `arc.target`, an integer."""

ROW_BYTES_MAX: Final[int]
"""A row of more bytes cannot come from a table that has our constraints."""

PENDING_BYTES_MAX: Final[int]
"""What a reader holds at most: `take` before it is reached."""

FAULTY_KEPT: Final[int]
"""Of so many rows that no record can hold is said which; all are counted."""

class Faulty(NamedTuple):
    """A link that no record can hold, and why."""

    link_id: int
    reason: str

@final
class Reader:
    """Rows of one COPY in binary format, as records by target."""

    def __init__(self, targets: int, write_sha: bytes, epoch: int | None = None) -> None:
        """A row's target is 0..targets-1 (at most 65,536); `write_sha` names projection's write.lua. With an epoch, its
        calls write nothing under a fence of a later one."""

    def feed(self, data: bytes | bytearray) -> int:
        """Take the next bytes, cut anywhere; returns how many rows ended in them, faulty ones among them.

        Raises ValueError for what is no COPY of COLUMNS, a target that there is not among it, and, with nothing of
        `data` taken, when PENDING_BYTES_MAX would be passed. Rows that came whole before a fault can be taken.
        """

    def finish(self) -> None:
        """Raises ValueError unless the COPY has come to its end."""

    rows: int
    """So far, faulty ones among them."""

    pending_bytes: int
    """Held, and not taken yet."""

    last: tuple[int, int] | None
    """Stored hash (signed, as in links.key_hash) and id of the last row, faulty or not: where the next page begins."""

    faulty: list[Faulty]
    """The first FAULTY_KEPT."""

    faulty_count: int

    def take(self, target: int) -> Batch:
        """What has come for a target since it was last asked for; it may be empty."""

@final
class Batch:
    """Keys and records of one target, in the order of their rows. Made by `Reader.take`."""

    target: int

    count: int
    """Of keys, tombstones among them. Indexes are 0..count-1."""

    links: int
    """Of keys whose record is no tombstone."""

    data_bytes: int
    """Of keys and records."""

    digest: int
    """The sum, modulo 2^64, over `links` of the XXH64 of the record, seeded with the link's hash. Tombstones have no
    part in it, because those of a shard end by themselves: what is alive is the same on both sides, or the sums differ.
    """

    commands: list[bytes]
    """EVALSHA of write.lua, encoded for the wire, each for at most 250 keys; made anew at each access."""

    keys: list[bytes]
    """For MGET; made anew at each access."""

    def writes(self, indexes: Sequence[int]) -> list[bytes]:
        """Like `commands`, of some of the keys. Raises IndexError."""

    def key(self, index: int) -> bytes:
        """One key. Raises IndexError."""

    def record(self, index: int) -> bytes:
        """One record. Raises IndexError."""

    def compare(self, values: Sequence[bytes | None]) -> Differences:
        """What the values of the keys differ in. Raises ValueError if there are not as many values as keys."""

class Differences(NamedTuple):
    """Values held by a shard beside the records of a batch. The first four are indexes into the batch, ascending, and
    none stands in two of them."""

    missing: list[int]
    """The shard has no value where there should be a link. A tombstone that is not there is no difference."""

    older: list[int]
    """Of a lower version, or too short to have one: write.lua replaces these."""

    newer: list[int]
    """Of a higher version."""

    different: list[int]
    """Other bytes of the same version."""

    links: int
    """Values that are no tombstones."""

    digest: int
    """Of those, as `Batch.digest`."""

def hashes(keys: Sequence[bytes]) -> list[int]:
    """The hashes, 0..2^64-1, of Redis keys of links (`l:<domain-id>:<code>`). Raises ValueError for any other key."""
