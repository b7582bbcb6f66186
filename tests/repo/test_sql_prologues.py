"""Each SQL file opens with the same fields, and what they say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.sql_sources import (
    FILES,
    all_functions,
    field,
    functions,
    prologue,
    raised,
    reached,
    woken,
)

FIELDS = ["status", "called by", "locks", "notifies", "raises"]
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@each_file
def test_the_prologue_names_the_room_and_then_has_the_five_fields_in_order(path: Path) -> None:
    told = prologue(path)
    room = re.match(r" \* ([\w, ]+): \S", told)
    assert room is not None, told.splitlines()[0]
    assert re.findall(rf"^ \*   ({'|'.join(FIELDS)})  +\S", told, re.MULTILINE) == FIELDS
    assert [name for name in FIELDS if not field(path, name)] == []


@each_file
def test_the_sqlstates_that_are_listed_are_those_that_are_raised(path: Path) -> None:
    told = field(path, "raises")
    listed = set() if told.startswith("nothing") else set(re.findall(r"\b(?:PD|22)\d{3}\b", told))
    assert listed == raised(path)


@each_file
def test_the_channels_that_are_listed_are_those_that_are_notified(path: Path) -> None:
    assert set(re.findall(r"\bpgdurable_(?:work|tail)\b", field(path, "notifies"))) == woken(path)


@each_file
def test_a_function_that_is_named_as_a_caller_calls_something_here(path: Path) -> None:
    ours = {function.name for function in functions(path)}
    for name in set(re.findall(r"\b\w+\b", field(path, "called by"))) - ours:
        if called := reached(name):
            assert ours & called.keys(), f"{name} calls nothing of {path.name}"


def test_every_file_is_looked_at() -> None:
    assert len(FILES) > 20 and len(all_functions()) > 50
