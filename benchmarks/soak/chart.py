"""Numbers over time as a small picture in text."""

from typing import Final

HEIGHT: Final = 8
WIDTH: Final = 60


def chart(values: list[float], unit: str) -> str:
    """A column a value (or the highest of several), from zero: a flat line looks flat."""
    columns = _columns(values)
    top = max(columns)
    filled = [round(value / top * HEIGHT) if top else 0 for value in columns]
    rows = ["".join("█" if height >= level else " " for height in filled) for level in range(HEIGHT, 0, -1)]
    label = f"{top:,.0f} {unit}"
    margins = [label] + [""] * (HEIGHT - 2) + ["0"]
    return "\n".join(f"{margin:>{len(label)}} ┤{row}".rstrip() for margin, row in zip(margins, rows, strict=True))


def _columns(values: list[float]) -> list[float]:
    each = -(-len(values) // WIDTH)
    return [max(values[at : at + each]) for at in range(0, len(values), each)]
