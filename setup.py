"""The Cython extensions; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

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
)

setup(
    ext_modules=cythonize(
        [
            Extension(f"edge.{name}", [f"src/edge/{name}.pyx"], extra_compile_args=["-O3", "-fno-plt"])
            for name in (*LEAVES, "_clicklog", "_front", "_roster", "_connection", "_stream", "_gate", "_fast")
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
        include_path=["src"],
        nthreads=CORES,
    ),
    options={"build_ext": {"parallel": CORES}},
)
