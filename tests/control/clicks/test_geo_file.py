"""The operator's database of places is replaced while it is in use, well or badly."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from control.clicks import geo_file
from control.clicks.geo_file import GeoFile
from tests.control.clicks.geo import COUNTRY_ONLY, LONDON, MUNICH, packed, write

ADDRESS = packed("81.2.69.1")
NETWORK = "81.2.69.0/24"
BEFORE = ("GB", "London, GB")
AFTER = ("DE", "Munich, DE")


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Followed:
    """A GeoFile with its path, its clock and what it logs."""

    def __init__(self, path: Path, lines: list[EventDict]) -> None:
        self.path = path
        self.clock = Clock()
        self.lines = lines
        self.file = GeoFile(path, structlog.get_logger(), self.clock)
        self.file.load()

    def steps(self, count: int = 10, seconds: float = geo_file.SETTLE_S) -> int:
        """So many steps with so much time before each; how many of them brought another database."""
        changes = 0
        for _ in range(count):
            self.clock.now_s += seconds
            changes += self.file.step()
            self.file.wait()
        return changes

    def place(self) -> tuple[str, str]:
        """Where the address is."""
        assert self.file.places is not None
        return self.file.places.find(ADDRESS)

    def warnings(self) -> list[str]:
        """The reasons that were logged."""
        return [line["reason"] for line in self.lines if line["log_level"] == "warning"]


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    """A database in use."""
    with capture_logs() as lines:
        yield Followed(write(tmp_path / "places.mmdb", {NETWORK: LONDON}), lines)


def test_file_is_in_use_from_the_start(followed: Followed) -> None:
    """Without a step, and without a warning."""
    assert followed.place() == BEFORE
    assert followed.warnings() == []


def test_no_file_is_no_database() -> None:
    """Without the setting nothing is looked for."""
    file = GeoFile(None, structlog.get_logger())
    file.load()
    assert file.step() is False
    assert file.places is None


def test_renamed_file_is_taken(followed: Followed) -> None:
    """A new file in the place of the old one is used once it has not changed for two seconds; only once."""
    write(followed.path, {NETWORK: MUNICH})
    assert followed.steps(3, seconds=geo_file.SETTLE_S / 4) == 0
    assert followed.place() == BEFORE
    assert followed.steps() == 1
    assert followed.place() == AFTER
    assert followed.steps() == 0


def test_file_rewritten_in_place_is_taken(followed: Followed) -> None:
    """The same file with another content."""
    followed.path.write_bytes(write(followed.path.with_name("new.mmdb"), {NETWORK: MUNICH}).read_bytes())
    assert followed.steps() == 1
    assert followed.place() == AFTER


def test_file_is_copied_in_bounded_parts(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step copies one part; the old database answers until the last."""
    monkeypatch.setattr(geo_file, "CHUNK_BYTES", 100)
    write(followed.path, {NETWORK: MUNICH})
    parts = followed.path.stat().st_size // 100
    assert parts > 5
    followed.steps(1)
    assert followed.steps(parts) == 0
    assert followed.place() == BEFORE
    assert followed.steps(3) == 1
    assert followed.place() == AFTER


def test_file_that_changes_while_it_is_copied_is_copied_again(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halves of two databases never meet."""
    monkeypatch.setattr(geo_file, "CHUNK_BYTES", 100)
    write(followed.path, {NETWORK: COUNTRY_ONLY})
    followed.steps(3)
    write(followed.path, {NETWORK: MUNICH})
    assert followed.steps(20) == 1
    assert followed.place() == AFTER
    assert followed.warnings() == []


def test_half_written_file_is_waited_for(followed: Followed) -> None:
    """A writer in place that goes on within the time to settle costs no warning."""
    whole = write(followed.path.with_name("new.mmdb"), {NETWORK: MUNICH}).read_bytes()
    with followed.path.open("wb", buffering=0) as file:
        for at in range(0, len(whole), 100):
            file.write(whole[at : at + 100])
            assert followed.steps(2, seconds=geo_file.SETTLE_S / 4) == 0
            assert followed.place() == BEFORE
    assert followed.steps() == 1
    assert followed.place() == AFTER
    assert followed.warnings() == []


def test_broken_file_is_said_once(followed: Followed) -> None:
    """The old database stays in use; what comes after the broken one is taken."""
    whole = followed.path.read_bytes()
    followed.path.write_bytes(whole[: len(whole) // 2])
    assert followed.steps(100) == 0
    assert followed.place() == BEFORE
    assert len(followed.warnings()) == 1
    assert followed.file.refusals > 1  # it is tried again at times: a disk may have been full
    write(followed.path, {NETWORK: MUNICH})
    assert followed.steps() == 1
    assert followed.place() == AFTER


def test_wrong_type_is_refused(followed: Followed) -> None:
    """A database of something else is named."""
    write(followed.path, {NETWORK: {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    followed.steps()
    assert followed.place() == BEFORE
    assert followed.warnings() == ["it is a database of the type GeoLite2-ASN, not of cities or countries"]


def test_removed_file_stays_in_use(followed: Followed) -> None:
    """Removed and put back, as some tools replace files."""
    followed.path.unlink()
    followed.steps(20)
    assert followed.place() == BEFORE
    assert followed.warnings() == ["it cannot be read: No such file or directory"]
    write(followed.path, {NETWORK: MUNICH})
    assert followed.steps() == 1
    assert followed.place() == AFTER


def test_file_that_comes_later_is_taken(tmp_path: Path) -> None:
    """Control started before the operator had a file."""
    with capture_logs() as lines:
        followed = Followed(tmp_path / "places.mmdb", lines)
        assert followed.file.places is None
        assert len(followed.warnings()) == 1
        write(followed.path, {NETWORK: LONDON})
        assert followed.steps() == 1
        assert followed.place() == BEFORE


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "places.mmdb")
    with capture_logs() as lines:
        followed = Followed(tmp_path / "places.mmdb", lines)
        assert followed.warnings() == ["it is not a file"]


def test_file_that_is_too_large_is_refused(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistaken path must not fill the disk."""
    monkeypatch.setattr(geo_file, "FILE_BYTES_MAX", 64)
    write(followed.path, {NETWORK: MUNICH})
    followed.steps()
    assert followed.place() == BEFORE
    assert "64 can be held" in followed.warnings()[0]


def test_cut_file_does_not_end_the_process(followed: Followed) -> None:
    """The database in use is ours: pages of the file that are gone are not missed."""
    os.truncate(followed.path, 0)
    assert followed.place() == BEFORE


def test_file_whose_check_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control starts without it."""
    monkeypatch.setattr(geo_file, "CHECK_S", 0.01)
    with capture_logs() as lines:
        file = GeoFile(write(tmp_path / "places.mmdb", {NETWORK: LONDON}), structlog.get_logger())
        file.load()
    assert file.places is None
    assert ["took longer" in line["reason"] for line in lines] == [True]


def test_descriptors_are_given_back(followed: Followed) -> None:
    """However often the file is replaced."""
    followed.steps()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        write(followed.path, {NETWORK: LONDON})
        followed.steps(3)
        followed.path.write_bytes(b"broken")
        followed.steps(3)
    followed.steps()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_replaced_all_the_time_under_load(followed: Followed) -> None:
    """A writer replaces, cuts and rewrites the file without a pause; every answer is one of the whole databases'."""
    wholes = [
        write(followed.path.with_name(f"{number}.mmdb"), {NETWORK: record}).read_bytes()
        for number, record in enumerate((LONDON, MUNICH))
    ]
    is_over = threading.Event()

    def rewrite() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            whole = wholes[number % 2]
            with followed.path.open("wb", buffering=0) as file:
                for at in range(0, len(whole), 500):
                    file.write(whole[at : at + 500])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        found = 0
        for _ in range(300):
            followed.steps(1)
            place = followed.place()
            found += place in (BEFORE, AFTER)
    finally:
        is_over.set()
        writer.join()
    assert found == 300
    followed.path.write_bytes(wholes[1])
    followed.steps(100)
    assert followed.place() == AFTER
