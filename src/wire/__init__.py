"""Formats that two processes must agree on, and nothing else.

Owns no data. Redis key names (`keys`), the link record (`record`), the topology document (`topology`), a shard's fence
(`fence`), the table of domains (`domains`) and an edge's heartbeat (`heartbeat`). For compiled code
there is the hash that decides which shard a key is on (`_xxh64`).

Invariants:
- every format starts with a version byte; an unknown version raises `FormatError`, it is never guessed;
- what leaves a process has a golden file under tests/wire/golden;
- only the standard library and orjson are imported here (I8).
"""

from wire.errors import FormatError

__all__ = ["VERSION", "FormatError"]

VERSION = "0.1.0"
"""The product's version; pyproject.toml takes it from here."""
