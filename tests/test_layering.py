"""The import table of ARCHITECTURE.md is the truth: what it does not allow is not imported, what it allows is (I8)."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
OURS = ("wire", "edge", "control")
# Cython's own declarations, beside the standard library.
CYTHON = {"cpython", "cython", "libc", "posix"}
CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)
ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def _names(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([\w.]+)`", cell))


@cache
def _table() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Module -> (ours, others) that it may import. A row may be for several modules."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("\n## Who may import what\n", 1)[1].split("\n## ", 1)[0]
    rows = ROW.findall(section)
    return {module: (_names(ours), _names(others)) for modules, ours, others in rows for module in _names(modules)}


def _module(file: Path) -> str:
    """The name of a module as the table has it: two levels at most."""
    parts = file.relative_to(SRC).with_suffix("").parts
    return ".".join(part for part in parts[:2] if part != "__init__")


def _python_imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            yield from (_imported(str(node.module), alias.name) for alias in node.names)


def _imported(module: str, name: str) -> str:
    """`from package import name` imports package.name if that is a module."""
    inside = SRC.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inside.is_dir() or list(inside.parent.glob(f"{name}.py*")) else module


def _imports(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        yield from _python_imports(text)
    else:
        yield from (first or second for first, second in CYTHON_IMPORT.findall(text))


@cache
def _actual() -> dict[str, tuple[set[str], set[str]]]:
    """Module -> (ours, others) that it imports."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for file in SRC.rglob("*"):
        if file.suffix not in (".py", ".pyx", ".pxd"):
            continue
        ours, others = found.setdefault(_module(file), (set(), set()))
        for name in _imports(file):
            top = name.split(".", maxsplit=1)[0]
            if top in OURS and not name.startswith(_module(file)):
                ours.add(".".join(name.split(".")[:2]))
            elif top not in sys.stdlib_module_names | CYTHON | set(OURS):
                others.add(top)
    return found


def _allows(allowed: frozenset[str], name: str) -> bool:
    """A row that names a package allows what is in it."""
    return name in allowed or name.split(".", maxsplit=1)[0] in allowed


@pytest.mark.parametrize("module", sorted(_actual()))
def test_imports_are_those_of_the_table(module: str) -> None:
    """A module imports what its row says, of ours and of others, and nothing else."""
    ours, others = _actual()[module]
    row = _table().get(module) or _table().get(module.split(".", maxsplit=1)[0])
    assert row is not None, f"{module} has no row"
    assert {name for name in ours if not _allows(row[0], name)} == set(), f"{module} may not import these of ours"
    assert others - row[1] == set(), f"{module} may not import these"


def test_the_table_has_nothing_that_is_not_there() -> None:
    """Every module of the table exists, and every import that it allows is made by one of its row's modules."""
    actual = _actual()
    idle = []
    for module, (ours, others) in _table().items():
        members = [name for name in actual if name == module or name.split(".", maxsplit=1)[0] == module]
        assert members, f"there is no {module}"
        used = {name for member in members for name in actual[member][0]}
        used |= {name.split(".", maxsplit=1)[0] for name in used}
        idle += [f"{module}: {name}" for name in ours - used]
        idle += [f"{module}: {name}" for name in others - {name for member in members for name in actual[member][1]}]
    assert idle == []


def test_packages_do_not_cross() -> None:
    """Whatever the table says: wire imports neither, edge never control, and control of edge only edge._fast (I8)."""
    for module, (ours, others) in _actual().items():
        package = module.split(".", maxsplit=1)[0]
        if package == "wire":
            assert {name.split(".", maxsplit=1)[0] for name in ours} <= {"wire"}
            assert others <= {"orjson"}
        elif package == "edge":
            assert not {name for name in ours if name.startswith("control")}, module
        else:
            assert {name for name in ours if name.startswith("edge")} <= {"edge._fast"}, module
