"""The results as rows of text."""

from typing import Any, Final

Row = tuple[str, ...]

COLUMNS: Final = ("attack", "p99 ms before", "p99 ms during", "errors, target 0", "server busy", "Redis hits")


def rows(document: dict[str, Any]) -> list[Row]:
    """A row an attack."""
    return [_row(attack) for attack in document["attacks"].values()]


def notes(document: dict[str, Any]) -> list[str]:
    """What each attacker did, as he counted it."""
    return [f"{attack['title']}: {attack['told']}" for attack in document["attacks"].values()]


def failures(document: dict[str, Any]) -> list[str]:
    """Attacks under which ordinary traffic had errors."""
    return [
        f"{attack['title']}: of {attack['asked']:,} ordinary requests {attack['errors']} failed"
        for attack in document["attacks"].values()
        if attack["errors"]
    ]


def _row(attack: dict[str, Any]) -> Row:
    return (
        attack["title"],
        f"{attack['before_us']['p99'] / 1000:.2f}",
        f"{attack['during_us']['p99'] / 1000:.2f}",
        f"{sum(attack['errors'].values()):,} of {attack['asked']:,}",
        f"{attack['server_share']:.0%}",
        f"{attack['redis_hits']:,}",
    )
