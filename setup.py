"""The Cython extensions; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

OPENSSL = ("edge._tls", "edge._secure")  # the same libraries that Python's ssl module stands on
CORES = os.cpu_count() or 1
LEAVES = (
    "_base62",
    "_budget",
    "_cache",
    "_client",
    "_counters",
    "_forwarded",
    "_framing",
    "_host",
    "_http",
    "_path",
    "_proxy",
    "_record",
    "_ring",
    "_segment",
    "_snapshot",
    "_tls",
)
EDGE = (*LEAVES, "_clicklog", "_front", "_owners", "_roster", "_connection", "_socket", "_secure", "_gate", "_fast")
CLICKS = (
    "_siphash",
    "_sketch",
    "_entries",
    "_document",
    "_grouping",
    "_items",
    "_ranking",
    "_clicks",
    "_enriching",
    "_tally",
    "_groups",
    "_rows",
    "_summary",
    "_fold",
)
MOVES = ("_links", "_pages")
MODULES = (
    *(f"edge.{name}" for name in EDGE),
    *(f"control.clicks.{name}" for name in CLICKS),
    *(f"control.moves.{name}" for name in MOVES),
)

setup(
    ext_modules=cythonize(
        [
            Extension(
                name,
                [f"src/{name.replace('.', '/')}.pyx"],
                extra_compile_args=["-O3", "-fno-plt"],
                libraries=["ssl", "crypto"] if name in OPENSSL else [],
            )
            for name in MODULES
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
        include_path=["src"],
        nthreads=CORES,
    ),
    options={"build_ext": {"parallel": CORES}},
)
