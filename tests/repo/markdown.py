"""Documents as data: fenced blocks with the comment above them, tables, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block; `mark` is the HTML comment above it: what a test does with it."""

    mark: str
    language: str
    text: str


def blocks(document: str) -> list[Block]:
    return [
        Block(found["mark"] or "", found["language"], found["text"])
        for found in _BLOCK.finditer(document)
    ]


def rows(document: str) -> Iterator[list[str]]:
    """The cells of every row of every table, heads included, their backticks kept."""
    for line in document.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def names(document: str) -> list[str]:
    """What the first cells of its tables name in backticks, one or several to a cell."""
    return [name for row in rows(document) for name in re.findall(r"`([^`]+)`", row[0])]


def section(document: str, title: str) -> str:
    """From the heading `## title` to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", document, re.M | re.S)
    assert found is not None, f"there is no section {title!r}"
    return found[1]


def links(document: str) -> list[str]:
    """Relative ones; what is in code is none."""
    prose = _BLOCK.sub("", document)
    return [m["target"] for m in _LINK.finditer(prose) if "://" not in m["target"]]


def anchors(document: str) -> set[str]:
    """What a link's #fragment may be: the headings, as they are written in addresses."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
