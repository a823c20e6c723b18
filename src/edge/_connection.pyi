"""One client's connection."""

from typing import Literal

from edge._front import Answer

Tier = Literal["shard", "replica", "origin", "stale", "none"]

class Connection:
    """One client. Made by the door only."""

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Answer the request that waits for the resolver, and serve what came behind it."""
