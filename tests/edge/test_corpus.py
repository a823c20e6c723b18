"""The inputs that fuzzing has kept (`make fuzz`): read whole and in parts, up to the very end of memory, beside h11."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge._http import parse
from tests.edge.guard import GuardedMemory
from tests.edge.http_oracle import check_head, check_path, check_splits

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus" / "http"
CORPUS_BYTES_MAX = 300_000
CUTS = 8


def _inputs() -> Iterator[tuple[bytes, list[int]]]:
    """Each input and places to split it, the same ones every time."""
    for file in sorted(CORPUS.iterdir()):
        data = file.read_bytes()
        places = random.Random(file.name)
        yield data, [places.randrange(len(data) + 1) for _ in range(CUTS)]


@pytest.fixture(scope="module")
def inputs() -> list[tuple[bytes, list[int]]]:
    """All that is kept."""
    return list(_inputs())


def test_corpus_is_small_and_reaches_every_answer(inputs: list[tuple[bytes, list[int]]]) -> None:
    """Otherwise the tests here would say little."""
    assert sum(len(data) for data, _ in inputs) < CORPUS_BYTES_MAX
    answers = {answer if isinstance(answer := parse(data), int) else answer[1] for data, _ in inputs}
    assert answers == {"GET", "HEAD", "OTHER", 0, -400, -414, -431, -501, -505}


def test_h11_accepts_what_the_edge_accepts(inputs: list[tuple[bytes, list[int]]]) -> None:
    """And reads it alike."""
    for data, _ in inputs:
        check_head(data)


def test_any_split_gives_the_same_answer(inputs: list[tuple[bytes, list[int]]]) -> None:
    """As the client's segments may be cut."""
    for data, cuts in inputs:
        check_splits(data, cuts)


def test_paths_are_read_as_by_decoding_them_whole(inputs: list[tuple[bytes, list[int]]]) -> None:
    """Those of the heads, and the inputs that are a path themselves."""
    for data, _ in inputs:
        answer = parse(data)
        check_path(data if isinstance(answer, int) else answer[2])


def test_nothing_behind_the_data_is_read(inputs: list[tuple[bytes, list[int]]]) -> None:
    """Whole and in parts, each in memory that ends with it; a byte too far would end this process."""
    memory = GuardedMemory()
    for data, cuts in inputs:
        for size in (*cuts, len(data)):
            part = data[:size]
            assert parse(memory.place(part)) == parse(part)


def test_the_guard_is_one() -> None:
    """The same memory kills whoever reads a byte too far."""
    program = "from tests.edge.guard import GuardedMemory; GuardedMemory().read_behind()"
    ended = subprocess.run((sys.executable, "-c", program), cwd=ROOT, check=False, timeout=30)
    assert ended.returncode == -signal.SIGSEGV


def test_fuzzing_names_what_is_missing() -> None:
    """Without clang `make fuzz` says which package has it."""
    command = (sys.executable, "-m", "tests.edge.fuzz")
    ended = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "apt-get install clang" in ended.stderr
