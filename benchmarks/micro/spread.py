"""python -m benchmarks.micro.spread: how evenly generated codes spread over eight shards, and what a ninth takes."""

import sys
import time
from collections import Counter
from typing import Final

from rich.console import Console

from edge._fast import CodePermutation, Ring, xxh64
from wire.topology import VIRTUAL_NODES_DEFAULT

CODES: Final = 10_000_000
SHARDS: Final = 8
# Of the mean, and of a ninth of all keys.
LARGEST_MAX, MOVED_MAX = 1.05, 1.02


def owners(codes: int) -> Counter[tuple[int, int]]:
    """How many codes each pair of owners has: among eight shards, and among nine."""
    names = [(f"shard-{number}", 1.0) for number in range(SHARDS + 1)]
    before, after = Ring(names[:-1], VIRTUAL_NODES_DEFAULT).shard, Ring(names, VIRTUAL_NODES_DEFAULT).shard
    code = CodePermutation(bytes(range(16))).code
    hashes = (xxh64(b"1:" + code(number).encode()) for number in range(codes))
    return Counter((before(key_hash), after(key_hash)) for key_hash in hashes)


def main() -> int:
    """Print the figures; the exit code: 0 within the bounds, 1 not."""
    console = Console()
    started = time.perf_counter()
    found = owners(CODES)
    held = [sum(found[owner, new] for new in range(SHARDS + 1)) for owner in range(SHARDS)]
    moved = sum(found[owner, SHARDS] for owner in range(SHARDS))
    astray = CODES - moved - sum(found[owner, owner] for owner in range(SHARDS))
    largest_ratio, moved_ratio = max(held) * SHARDS / CODES, moved * (SHARDS + 1) / CODES
    console.print(f"{CODES:,} codes on {SHARDS} shards, in {time.perf_counter() - started:.0f} s")
    console.print(f"the largest shard has {largest_ratio:.4f} of the mean (at most {LARGEST_MAX})")
    console.print(f"the smallest has {min(held) * SHARDS / CODES:.4f}")
    console.print(f"a ninth takes {moved_ratio:.4f} of a ninth of all (at most {MOVED_MAX})")
    console.print(f"{astray:,} move between the others (none may)")
    return 0 if largest_ratio <= LARGEST_MAX and moved_ratio <= MOVED_MAX and astray == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
