"""Where results are kept: one JSON document a kind, replaced whole.

The page is made of the kinds that `render` names; macro-part and those that end with -short hold what is not whole.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError

DIRECTORY = Path(__file__).parent / "results"


def write(kind: str, document: dict[str, Any]) -> None:
    """Replace the results of a kind."""
    DIRECTORY.mkdir(exist_ok=True)
    _path(kind).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(kind: str) -> dict[str, Any]:
    """The last results of a kind; raises BenchmarkError when there are none."""
    try:
        document: dict[str, Any] = json.loads(_path(kind).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"there are no {kind} results; run `make bench`, or that part of it alone, first"
        ) from error
    return document


def _path(kind: str) -> Path:
    return DIRECTORY / f"{kind}.json"
