"""sql/05_vocabulary.sql says what Python says: it is generated from it.

To write it anew:
PGDURABLE_UPDATE_VOCABULARY=1 python -m pytest tests/sql/test_vocabulary.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from pgdurable.envelope import kinds
from pgdurable.models import TERMINAL_TYPES
from pgdurable.requests.fields import CONVERSATION_PATHS, FIELDS, NAMES

FILE = Path(__file__).parents[2] / "sql" / "05_vocabulary.sql"
UPDATE = "PGDURABLE_UPDATE_VOCABULARY"

HEAD = """\
/*
 * vocabulary: the words that Python and SQL share. Generated: change the Python modules that the
 * functions name, then run tests/sql/test_vocabulary.py with PGDURABLE_UPDATE_VOCABULARY=1.
 *
 *   status     none
 *   called by  13_enqueue_response.sql, 14_request.sql, 56_end.sql, 57_closing.sql
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */
"""
FUNCTION = """
/* {comment} */
create or replace function pgdurable.{name}()
returns table (
  {columns}
)
language sql
immutable
set search_path = ''
as $$
  values
    {rows};
$$;
"""


class Array(tuple[str, ...]):
    """What is written as an array of text."""


class Json(bytes):
    """What is written as jsonb."""


def literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool() | int():
            return str(value).lower()
        case Array():
            return "array[" + ", ".join(literal(str(one)) for one in value) + "]"
        case Json():
            return literal(value.decode()) + "::jsonb"
        case str():
            assert "\\" not in value
            return "'" + value.replace("'", "''") + "'"
    raise TypeError(value)


def function(name: str, comment: str, columns: str, rows: Sequence[Sequence[Any]]) -> str:
    lines = ["(" + ", ".join(literal(value) for value in row) + ")" for row in rows]
    return FUNCTION.format(name=name, comment=comment, columns=columns, rows=",\n    ".join(lines))


def fields() -> Iterator[Sequence[Any]]:
    for n, field in enumerate(FIELDS, 1):
        default = None if field.default is None else Json(orjson.dumps(field.default))
        yield (
            n, field.name, Array(field.types), field.wanted, default, str(field.echo),
            field.checked, field.required,
        )  # fmt: skip


def text_events() -> Iterator[Sequence[Any]]:
    """In the words of kinds.py: openings, deltas, annotations, dones, closings."""
    for holder, opening in kinds.OPENINGS.items():
        yield opening, holder, "opening"
        yield kinds.CLOSINGS[holder], holder, "closing"
    yield kinds.ANNOTATION_ADDED, kinds.TEXT.holder, "annotation"
    for kind in kinds.KINDS:
        yield kind.delta, kind.holder, "delta"
        yield kind.done, kind.holder, "done"


def generated() -> str:
    parts = [(k.holder, k.part_type, k.text_key, k.done, k.has_logprobs) for k in kinds.KINDS]
    return HEAD + "".join(
        [
            function(
                "_request_fields",
                "What the server reads of a request, and what a response says of it: "
                "requests/fields.py.",
                "n integer, name text, types text[], wanted text, default_value jsonb, echo text,"
                " is_checked boolean, is_required boolean",
                list(fields()),
            ),
            function(
                "_json_types",
                "How a refusal calls a value of each type: requests/fields.py.",
                "type text, name text",
                [(kind, name) for kind, name in NAMES.items() if kind != "integer"],
            ),
            function(
                "_conversation_paths",
                "Where a request may name its conversation, best first: requests/fields.py.",
                "n integer, path text[]",
                [(n, Array(path)) for n, path in enumerate(CONVERSATION_PATHS, 1)],
            ),
            function(
                "_terminal_types",
                "The event that ends a response, by its status: models.py.",
                "status text, type text",
                [(str(status), kind) for status, kind in TERMINAL_TYPES.items()],
            ),
            function(
                "_text_kinds",
                "The parts that hold text, where they stand, how they end: envelope/kinds.py.",
                "holder text, part_type text, text_key text, done text, has_logprobs boolean",
                [part for part in parts if part[1] is not None],
            ),
            function(
                "_text_events",
                "The events that carry text, and where in the item it stands: envelope/kinds.py.",
                "type text, holder text, step text",
                list(text_events()),
            ),
        ]
    )


def test_the_file_is_what_python_says() -> None:
    if os.environ.get(UPDATE):
        FILE.write_text(generated(), "utf-8")
    assert FILE.read_text("utf-8") == generated(), f"run this with {UPDATE}=1"


def test_a_value_that_sql_would_read_otherwise_is_not_written() -> None:
    assert literal("it's") == "'it''s'"
    with pytest.raises(TypeError):
        literal(0.5)
