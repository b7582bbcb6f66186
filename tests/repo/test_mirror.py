"""Each SQL file has its tests, each SQL function its wrapper and its place in the documents."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdurable.database import queries
from tests.repo.markdown import ROOT, blocks, names, rows, section
from tests.support.sql_sources import FILES, all_functions, functions, raised, reached

PUBLIC = sorted(name for name, function in all_functions().items() if not function.is_private)
API = (ROOT / "docs" / "sql-api.md").read_text("utf-8")
MAP = (ROOT / "sql" / "README.md").read_text("utf-8")
LIFECYCLE = (ROOT / "docs" / "lifecycle.md").read_text("utf-8")

# Public for people at psql; the runtime has these answers from elsewhere.
PSQL_ONLY = {
    "append_event": "the writer appends in batches: append_events",
    "new_response_id": "the server brings its ids: an enqueue with an unknown end can be repeated",
    "now": "Python never compares a time with the database's",
    "rotate_conversation": "claim and takeover rotate; ClaimedResponse has the id",
}
# Tests that cut across files.
CROSSING = {
    "test_closing_twin.py",
    "test_plpgsql_check.py",
    "test_psql.py",
    "test_query_plans.py",
    "test_request_twin.py",
}


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        yield connection


def room(path: Path) -> str:
    """20_claim.sql -> claim"""
    return path.stem.partition("_")[2]


def test_each_sql_file_has_its_test_file_and_no_other_is_there() -> None:
    tests = {path.name for path in (ROOT / "tests" / "sql").glob("test_*.py")}
    assert tests - CROSSING == {f"test_{room(path)}.py" for path in FILES}


def test_the_rooms_have_different_names() -> None:
    assert len({room(path) for path in FILES}) == len(FILES)


def test_each_public_function_has_its_wrapper_or_a_reason_to_have_none() -> None:
    wrapped = {name for name in PUBLIC if hasattr(queries, name)}
    assert sorted(wrapped ^ set(PUBLIC)) == sorted(PSQL_ONLY)


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - PSQL_ONLY.keys()))
def test_a_wrapper_calls_the_function_of_its_name(name: str) -> None:
    wrapper = getattr(queries, name)
    module = inspect.getmodule(wrapper)
    assert module is not None
    source = inspect.getsource(wrapper)
    for constant in re.findall(r"\b_[A-Z_]+\b", source):
        source += getattr(module, constant)
    assert f"pgdurable.{name}(" in source


def test_python_calls_no_private_function_and_no_sql_is_anywhere_else() -> None:
    called, strangers = set[str](), list[str]()
    for path in sorted([*(ROOT / "pgdurable").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        found = [
            name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for name in re.findall(r"\bpgdurable\.(\w+)\(", node.value)
        ]
        if path.parent.name == "queries":
            called.update(found)
        elif path.parent.name != "schema":  # makes the functions, and a script for psql
            strangers += [f"{path.name}: {name}" for name in found if name in all_functions()]
    assert strangers == []
    assert len(called) > 20
    assert [name for name in called if name not in PUBLIC] == []


def signature(text: str) -> str:
    """On one line, in the short words for types, without casts and the schema's name."""
    text = text.replace("timestamp with time zone", "timestamptz")
    text = re.sub(r"\b(DEFAULT|NULL|SETOF)\b", lambda m: m[0].lower(), text)
    text = re.sub(r"::\w+(\[\])?|\bpgdurable\.", "", text)
    return re.sub(r"\( | (?=\))", lambda m: m[0].strip(), " ".join(text.split()))


def test_each_public_function_is_documented_with_its_signature(
    conn: psycopg.Connection[tuple[Any, ...]],
) -> None:
    found = conn.execute("""
        select p.proname,
          p.proname || '(' || pg_get_function_arguments(p.oid) || ') returns '
          || pg_get_function_result(p.oid)
        from pg_proc as p
        where p.pronamespace = 'pgdurable'::regnamespace and p.proname !~ '^_'
    """)
    told = [signature(block.text) for block in blocks(API) if block.mark == "signature"]
    assert sorted(told) == sorted(signature(text) for _, text in found)
    assert sorted(re.findall(r"^### (\w+)$", API, re.MULTILINE)) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_function_is_documented_with_a_sentence_an_example_and_its_refusals(name: str) -> None:
    found = re.search(rf"^### {name}$(.*?)(?=^##+ |\Z)", API, re.MULTILINE | re.DOTALL)
    assert found is not None
    part = blocks(found[1])
    prose = re.sub(r"<!--.*?-->|```.*?```", "", found[1], flags=re.DOTALL)
    assert len(prose.split()) > 8
    assert any(block.mark == "run" and f"pgdurable.{name}(" in block.text for block in part)
    assert set(re.findall(r"`((?:PD|22)\d{3})`", prose)) == refusals(name)


def refusals(name: str) -> set[str]:
    """The SQLSTATEs that a call of it may end in."""
    return {state for function in reached(name).values() for state in function.refusals}


def test_each_view_and_each_type_is_documented(conn: psycopg.Connection[tuple[Any, ...]]) -> None:
    found = conn.execute("""
        select c.relname, c.relkind = 'v', string_agg(a.attname, ', ' order by a.attnum)
        from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('v', 'c')
        group by c.oid
    """).fetchall()
    assert sorted(names(section(API, "Views"))) == sorted(name for name, view, _ in found if view)
    told = {row[0].strip("`"): row[1].replace("`", "") for row in rows(section(API, "Rows"))}
    assert {name: columns for name, columns in told.items() if name != "type"} == {
        name: columns for name, view, columns in found if not view
    }


def test_the_map_has_a_row_for_each_file_with_its_functions_and_refusals() -> None:
    told = {row[0].strip("`"): row for row in rows(MAP) if row[0].endswith(".sql`")}
    assert list(told) == [path.name for path in FILES]
    for path in FILES:
        _, defined, _, _, refused = told[path.name]
        named = set(re.findall(r"`(\w+)`", defined))
        assert named == {function.name for function in functions(path)}, path.name
        assert set(re.findall(r"`(\w{5})`", refused)) == raised(path), path.name


def test_what_the_map_and_the_lifecycle_name_is_there() -> None:
    known = all_functions().keys() | {path.name for path in FILES}
    for page in (MAP, LIFECYCLE):
        named = re.findall(r"`(\w+_responses?|_\w+|\d\d_\w+\.sql)`", page)
        assert named
        assert [name for name in named if name not in known] == []
