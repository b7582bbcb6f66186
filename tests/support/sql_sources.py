"""The SQL files as text: what each says at its head, defines, raises and notifies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

SQL = Path(__file__).parents[2] / "sql"
FILES = sorted(SQL.glob("[0-9][0-9]_*.sql"))
_FUNCTION = re.compile(
    r"^create or replace function pgdurable\.(?P<name>\w+)\((?P<arguments>.*?)\)\n"
    r"returns (?P<rest>.*?)^as \$\$\n(?P<body>.*?)^\$\$;$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)


class Function(NamedTuple):
    """A function as its file defines it; `body` without comments."""

    name: str
    body: str

    @property
    def is_private(self) -> bool:
        return self.name.startswith("_")

    @property
    def calls(self) -> set[str]:
        """The functions of ours that it calls by itself."""
        return set(re.findall(r"\bpgdurable\.(\w+)\(", self.body))

    @property
    def refusals(self) -> set[str]:
        """The SQLSTATEs that it raises by itself."""
        return set(re.findall(r"_refuse\(\s*'(\w{5})'", self.body))

    @property
    def channels(self) -> set[str]:
        """The channels that it names."""
        return set(re.findall(r"'(pgdurable_(?:work|tail))'", self.body))


def functions(path: Path) -> list[Function]:
    text = path.read_text("utf-8")
    found = [Function(f["name"], _COMMENT.sub("", f["body"])) for f in _FUNCTION.finditer(text)]
    assert len(found) == len(re.findall(r"\bcreate or replace function\b", text)), path.name
    return found


def all_functions() -> dict[str, Function]:
    return {function.name: function for path in FILES for function in functions(path)}


def prologue(path: Path) -> str:
    """The comment that opens the file."""
    found = re.match(r"/\*\n(.*?)\n \*/\n", path.read_text("utf-8"), re.DOTALL)
    assert found is not None, f"{path.name} has no prologue"
    return found[1]


def field(path: Path, name: str) -> str:
    """One field of the prologue, its lines joined."""
    found = re.search(rf"^ \*   {name}\b *(.*(?:\n \*    +\S.*)*)", prologue(path), re.MULTILINE)
    assert found is not None, f"{path.name}: no {name}"
    return re.sub(r"\n \*\s+", " ", found[1])


def reached(*names: str) -> dict[str, Function]:
    """These functions and all that they call, however deep."""
    known, left, found = all_functions(), list(names), dict[str, Function]()
    while left:
        name = left.pop()
        if name in known and name not in found:
            found[name] = known[name]
            left += found[name].calls
    return found


def raised(path: Path) -> set[str]:
    """The SQLSTATEs that calling a function of this file may end in."""
    called = reached(*[function.name for function in functions(path)])
    return {sqlstate for function in called.values() for sqlstate in function.refusals}


def woken(path: Path) -> set[str]:
    """The channels that functions of this file notify by themselves."""
    return {channel for function in functions(path) for channel in function.channels}
