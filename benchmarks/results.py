"""Where results are kept: one JSON document a kind, replaced whole."""

import json
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError

DIRECTORY = Path(__file__).parent / "results"


def path(kind: str) -> Path:
    """The file of a kind of result: "macro", "micro", "scale", or one of them with "-short" behind."""
    return DIRECTORY / f"{kind}.json"


def write(kind: str, document: dict[str, Any]) -> Path:
    """Replace the results of a kind."""
    DIRECTORY.mkdir(exist_ok=True)
    path(kind).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path(kind)


def read(kind: str) -> dict[str, Any]:
    """The last results of a kind; raises BenchmarkError when there are none."""
    try:
        document: dict[str, Any] = json.loads(path(kind).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchmarkError(f"there are no {kind} results; run `python -m benchmarks.{kind}` first") from error
    return document
