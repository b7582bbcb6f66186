"""`__all__` of every package: complete, sorted, true."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import pgdurable

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    path.parent.relative_to(ROOT).as_posix().replace("/", ".")
    for path in (ROOT / "pgdurable").rglob("__init__.py")
)


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_there_is_sorted_and_names_what_is_there(name: str) -> None:
    package = importlib.import_module(name)
    exported = getattr(package, "__all__", [])  # a room need not export anything
    assert list(exported) == sorted(exported, key=kind_and_name)
    assert [key for key in exported if not hasattr(package, key)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_complete_where_a_package_only_gathers_names(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__ and package.__file__ is not None
    body = ast.parse(Path(package.__file__).read_text()).body
    imported = {
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    if any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in body):
        assert set(package.__all__), f"{name} has code of its own, and exports some of it"
    else:
        assert set(getattr(package, "__all__", [])) == imported


def kind_and_name(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_a_star_import_gives_an_author_everything() -> None:
    wanted = {"Agent", "LongRunningAgentServer", "LongRunningSettings", "invoke", "stream"}
    assert wanted <= set(pgdurable.__all__)
