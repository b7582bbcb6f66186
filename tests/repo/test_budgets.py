"""A file is read in one sitting, a function in one look."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON_FILE, PYTHON_FUNCTION = 350, 40
SQL_FILE, SQL_FUNCTION = 200, 60


def python_files() -> Iterator[Path]:
    for folder in ("pgdurable", "cli"):
        yield from (ROOT / folder).rglob("*.py")


def sql_files() -> Iterator[Path]:
    yield from (ROOT / "sql").glob("*.sql")


def too_long(lengths: dict[str, int], most: int) -> dict[str, int]:
    assert lengths, "nothing was measured"
    return {name: length for name, length in lengths.items() if length > most}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{name_of(path)}:{node.lineno} {node.name}", length


def sql_functions(path: Path) -> Iterator[tuple[str, int]]:
    whole = r"^create or replace function (\S+?)\(.*?^\$\$;$"
    for found in re.finditer(whole, path.read_text(), re.MULTILINE | re.DOTALL):
        yield f"{name_of(path)} {found[1]}", found[0].count("\n") + 1


def test_python_files_are_short() -> None:
    assert too_long({name_of(p): lines(p) for p in python_files()}, PYTHON_FILE) == {}


def test_python_functions_are_short() -> None:
    lengths = {name: n for path in python_files() for name, n in python_functions(path)}
    assert too_long(lengths, PYTHON_FUNCTION) == {}


def test_sql_files_are_short() -> None:
    assert too_long({name_of(p): lines(p) for p in sql_files()}, SQL_FILE) == {}


def test_sql_functions_are_short() -> None:
    lengths = {name: n for path in sql_files() for name, n in sql_functions(path)}
    assert too_long(lengths, SQL_FUNCTION) == {}
