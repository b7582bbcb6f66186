"""What no file of the repository may say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "benchmarks", "cli", "docs", "pgdurable", "sql", "tests")
KINDS = {"", ".md", ".py", ".sql", ".toml", ".txt", ".json", ".mjs", ".js", ".ts", ".yml", ".yaml"}
GENERATED = {"__pycache__", "node_modules", "results"}

# In pieces, so that this file does not say them itself.
FORBIDDEN = {
    "a marker of unfinished work": r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
    "the host of a package index": r"pypi\." + r"org|python" + r"hosted|npm" + r"js\.(org|com)",
    "a path of one machine": r"/wo"
    + r"rk/(main|shared)|/ro"
    + r"ot/[.\w]|/ho"
    + r"me/(?!linuxbrew)\w",
}


def texts() -> Iterator[Path]:
    for path in ROOT.iterdir():
        if (
            path.is_file()
            and path.name != ".git"
            and (path.suffix in KINDS or path.name == ".gitignore")
        ):
            yield path
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            known = path.suffix in KINDS and not GENERATED.intersection(path.parts)
            if path.is_file() and known:
                yield path


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_says(what: str) -> None:
    pattern, said, read = re.compile(FORBIDDEN[what]), list[str](), 0
    for path in texts():
        read += 1
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if pattern.search(line):
                said.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert read > 20
    assert said == []


def test_the_events_of_a_stream_are_named_once() -> None:
    homes = {"pgdurable/models.py", "pgdurable/envelope/kinds.py"}
    name = re.compile(r"""["']response\.[a-z_.]+["']""")
    said = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / "pgdurable").rglob("*.py")
        if (found := name.findall(path.read_text("utf-8")))
    }
    assert said.keys() == homes, "elsewhere, import the names from there"
