"""Bounded limits for each client. Keys are those of `_client.ClientKeys`; no method allocates."""

class Budgets:
    """Token buckets for `clients_max` clients (8..2^24, a multiple of 8 is used), each with `burst` tokens when full.

    `rate_per_s` tokens come back each second, 0..1,000,000; with 0 there is no limit and no memory is used. When more
    clients have taken than there are buckets, the one nearest to full of eight is forgotten, which means: full.
    """

    refusals: int
    evictions: int
    """Buckets that were forgotten before they were full again."""

    def __init__(self, clients_max: int, rate_per_s: int, burst: int) -> None: ...
    def take_token(self, client_key: int, now_ms: int) -> bool:
        """Take a token; False if there is none, and nothing changes. `now_ms` is monotonic and not negative."""

    def give_token(self, client_key: int) -> None:
        """Give back a token that was taken."""

    @property
    def bytes(self) -> int:
        """Memory of the buckets."""

class Tally:
    """How much each of at most `entries_max` clients (1..2^24) has open; exact."""

    refusals: int

    def __init__(self, entries_max: int) -> None: ...
    def add(self, client_key: int, limit: int) -> int:
        """Count one more; the count with it, or -1 if it would be over `limit`: nothing is counted.

        -1 also for a client that is one more than `entries_max`, which cannot be if no more is open altogether.
        """

    def remove(self, client_key: int) -> int:
        """Count one less; the count that is left, or -1 for a client that has nothing open."""

    @property
    def bytes(self) -> int:
        """Memory of the counts."""

    def __len__(self) -> int:
        """The number of clients that have something open."""
