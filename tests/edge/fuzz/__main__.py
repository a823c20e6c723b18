"""python -m tests.edge.fuzz: FUZZ_SECONDS long, search for what upsets the parser of heads (libFuzzer, ASan, UBSan).

The leaves are compiled by clang with its instruments into build/fuzz, and harness.pyx checks each input. It begins with
the kept corpus; what reaches more than that is added to it at the end, smallest inputs first.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
CORPUS: Final = ROOT / "tests" / "edge" / "corpus" / "http"
BUILD: Final = ROOT / "build" / "fuzz"
LEAVES: Final = ("_framing", "_host", "_http", "_path")
SECONDS: Final = 600
# A little more than a head may have, so that its limit is reached from both sides.
INPUT_BYTES_MAX: Final = 8400
CHECKS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1", "-fPIC", "-w")


def main() -> None:
    """Build, search, keep what is new; exits with a message if something was found."""
    if shutil.which("clang") is None:
        sys.exit("fuzz: clang is missing: apt-get install clang")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.joinpath("edge").mkdir(parents=True)
    BUILD.joinpath("corpus").mkdir()
    _build()
    seconds = int(os.environ.get("FUZZ_SECONDS", SECONDS))
    limits = (f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={BUILD}/")
    search = (f"-max_total_time={seconds}", f"-dict={HERE / 'http.dict'}", "-print_final_stats=1", "-timeout=10")
    if _fuzz(*search, *limits, str(BUILD / "corpus"), str(CORPUS)) != 0:
        sys.exit(f"fuzz: found something; its input is in {BUILD}")
    sys.exit(_fuzz("-merge=1", *limits, str(CORPUS), str(BUILD / "corpus")))


def _build() -> None:
    """The leaves as modules of a package edge that has nothing else, and the fuzzer that imports them."""
    BUILD.joinpath("edge", "__init__.py").touch()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for leaf in LEAVES:
        source = _translate(ROOT / "src" / "edge" / f"{leaf}.pyx")
        _clang("-fsanitize=fuzzer-no-link", "-shared", str(source), "-o", str(BUILD / "edge" / f"{leaf}{suffix}"))
    harness = _translate(HERE / "harness.pyx")
    libraries = (f"-L{sysconfig.get_config_var('LIBDIR')}", f"-lpython{sysconfig.get_config_var('LDVERSION')}")
    rpath = f"-Wl,-rpath,{sysconfig.get_config_var('LIBDIR')}"
    # -rdynamic: the modules find the sanitizers' functions in the program that loads them. The harness is compiled
    # without the fuzzer's instruments, for what it covers is no progress.
    _clang("-c", str(HERE / "main.c"), str(harness))
    _clang("-fsanitize=fuzzer", "-rdynamic", "main.o", "harness.o", *libraries, rpath, "-o", "fuzz")


def _translate(source: Path) -> Path:
    """Cython's C for the source."""
    translated = BUILD / f"{source.stem}.c"
    command = (sys.executable, "-m", "cython", "-3", "-I", "src", str(source.relative_to(ROOT)), "-o", str(translated))
    subprocess.run(command, check=True, cwd=ROOT)
    return translated


def _clang(*arguments: str) -> None:
    include = f"-I{sysconfig.get_path('include')}"
    # src/edge for _scan.h, BUILD for harness.h.
    paths = (include, f"-I{ROOT / 'src' / 'edge'}", f"-I{BUILD}")
    subprocess.run(("clang", *CHECKS, *paths, *arguments), check=True, cwd=BUILD)


def _fuzz(*arguments: str) -> int:
    """Run the fuzzer with these options; its exit code."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(BUILD), str(ROOT), *_site_packages()]),
        "PYTHONMALLOC": "malloc",  # so that ASan sees where Python's bytes end
        "ASAN_OPTIONS": "detect_leaks=0",  # the embedded Python frees nothing at its end
    }
    return subprocess.run((str(BUILD / "fuzz"), *arguments), check=False, env=environ, cwd=BUILD).returncode


def _site_packages() -> list[str]:
    return [path for path in sys.path if re.search(r"site-packages$", path)]


if __name__ == "__main__":
    main()
