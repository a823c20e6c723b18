"""The Cython extensions; everything else about the package stands in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

LEAVES = ("_base62", "_ring", "_cache", "_counters", "_framing", "_host", "_http", "_path", "_record")

setup(
    ext_modules=cythonize(
        [
            Extension(f"edge.{name}", [f"src/edge/{name}.pyx"], extra_compile_args=["-O3", "-fno-plt"])
            for name in (*LEAVES, "_fast")
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
        include_path=["src"],
    )
)
