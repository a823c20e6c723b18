"""Skipping over the bytes of a head: with SSE2 and without, beside a regular expression, up to the end of memory."""

import ctypes
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge.guard import GuardedMemory

HEADER = Path(__file__).parents[2] / "src" / "edge" / "_scan.h"
KINDS = {
    "scan_text": re.compile(rb"[\t\x20-\x7e\x80-\xff]*"),
    "scan_name": re.compile(rb"[0-9A-Za-z-]*"),
    "scan_target": re.compile(rb"[!\"$-~]*"),
}
# Names and values may look back 16 bytes: a request line stands before them.
BEFORE = b"GET / HTTP/1.1\r\n"
COMPILER = shutil.which("cc") or shutil.which("gcc")
Scan = Callable[[str, bytes], int]


@pytest.fixture(scope="module", params=["wide", "portable"])
def scan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """How many bytes the function of this name skips, compiled this way."""
    assert COMPILER is not None
    folder = tmp_path_factory.mktemp("scan")
    exports = "".join(
        f"long skip_{name}(const char *at, long size) {{ return {name}(at, at + size) - at; }}\n" for name in KINDS
    )
    folder.joinpath("scan.c").write_text(f'#include "{HEADER}"\n{exports}', encoding="ascii")
    options = ["-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-shared", "-fPIC"]
    options += ["-DPOINTSMAN_PORTABLE"] if request.param == "portable" else []
    library = folder / "scan.so"
    subprocess.run((COMPILER, *options, str(folder / "scan.c"), "-o", str(library)), check=True)
    compiled = ctypes.CDLL(str(library))
    memory = GuardedMemory()

    def skip(name: str, data: bytes) -> int:
        function = getattr(compiled, f"skip_{name}")
        place = memory.place(BEFORE + data)
        start = ctypes.addressof(ctypes.c_char.from_buffer(place)) + len(BEFORE)
        return int(function(ctypes.c_void_p(start), ctypes.c_long(len(data))))

    return skip


@pytest.mark.parametrize("name", KINDS)
def test_every_byte_at_every_place(scan: Scan, name: str) -> None:
    """Each of the 256 bytes stops or does not, wherever in a step of 16 it stands."""
    for byte in range(256):
        for before in range(18):
            data = b"a" * before + bytes([byte]) + b"b" * (17 - before)
            match = KINDS[name].match(data)
            assert match is not None
            assert scan(name, data) == match.end(), data


@settings(max_examples=300)
@given(data=st.one_of(st.binary(max_size=70), st.text("aZ09-:_ \t\r#?/\x7fé", max_size=70).map(str.encode)))
@pytest.mark.parametrize("name", KINDS)
def test_random_bytes(scan: Scan, name: str, data: bytes) -> None:
    """The same for what is longer than a step."""
    match = KINDS[name].match(data)
    assert match is not None
    assert scan(name, data) == match.end()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="SSE2 is part of x86-64")
def test_wide_is_what_is_built_here() -> None:
    """The parser's speed hangs on it."""
    assert COMPILER is not None
    program = f'#include "{HEADER}"\n#ifndef SCAN_IS\n#error "not wide"\n#endif\n'
    subprocess.run((COMPILER, "-fsyntax-only", "-xc", "-"), input=program.encode(), check=True)
