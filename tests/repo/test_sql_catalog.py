"""What every object of the schema keeps to, asked of the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.sql_sources import FILES, all_functions

Rows = list[tuple[Any, ...]]


class Catalog:
    """Questions to one fresh database; an answer that is empty is what most tests want."""

    def __init__(self, conn: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._conn = conn

    def functions(self, where: LiteralString) -> list[str]:
        """Names of our functions for which that holds; `p` is pg_proc, `l` pg_language."""
        query: LiteralString = f"""
            select p.proname
            from pg_proc as p
            join pg_language as l on l.oid = p.prolang
            where p.pronamespace = 'pgdurable'::regnamespace and ({where})
            order by 1
        """
        return [str(row[0]) for row in self.ask(query)]

    def ask(self, query: LiteralString) -> Rows:
        return self._conn.execute(query).fetchall()


@pytest.fixture
def catalog(dsn: str) -> Iterator[Catalog]:
    with psycopg.connect(dsn) as conn:
        yield Catalog(conn)


def test_the_functions_in_the_database_are_those_in_sql(catalog: Catalog) -> None:
    assert catalog.functions("true") == sorted(all_functions())


def test_every_function_pins_its_search_path(catalog: Catalog) -> None:
    pinned: LiteralString = "coalesce(p.proconfig, '{}') @> array['search_path=\"\"']"
    assert len(catalog.functions(pinned)) > 50
    assert catalog.functions(f"not {pinned}") == []


def test_each_table_s_key_goes_with_a_response_or_a_principal_or_its_comment_says_why_not(
    catalog: Catalog,
) -> None:
    """So that rows can move to another database by principal."""
    keys = catalog.ask("""
        select c.relname::text, obj_description(c.oid, 'pg_class'),
          array_agg(a.attname::text) && array['response_id', 'principal']
        from pg_class as c
        join pg_index as i on i.indrelid = c.oid and i.indisprimary
        join pg_attribute as a on a.attrelid = c.oid and a.attnum = any(i.indkey)
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind = 'r'
        group by c.oid
    """)
    assert len(keys) > 7
    apart = {name: comment for name, comment, moves in keys if not moves}
    assert apart.keys() == {"workers", "presences", "schema_files", "schema_migrations"}
    assert [name for name, comment in apart.items() if "principal" not in comment] == []


def test_functions_are_sql_or_plpgsql_and_run_with_the_rights_of_who_calls(
    catalog: Catalog,
) -> None:
    assert catalog.functions("l.lanname not in ('sql', 'plpgsql')") == []
    assert catalog.functions("p.prosecdef or p.prokind <> 'f'") == []


def test_no_name_is_given_to_two_functions(catalog: Catalog) -> None:
    names = catalog.functions("true")
    assert sorted(set(names)) == names


def test_nothing_is_open_to_public(catalog: Catalog) -> None:
    assert (
        catalog.functions(
            "exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g"
            " where g.grantee = 0)"
        )
        == []
    )
    opened = catalog.ask("""
        select c.relname
        from pg_class as c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) as g
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('r', 'p', 'v')
          and g.grantee = 0
        union all
        select n.nspname
        from pg_namespace as n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as g
        where n.nspname = 'pgdurable' and g.grantee = 0
    """)
    assert opened == []


def test_there_are_no_triggers_no_rules_and_no_sequences(catalog: Catalog) -> None:
    found = catalog.ask("""
        select t.tgname::text
        from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
        where c.relnamespace = 'pgdurable'::regnamespace and not t.tgisinternal
        union all
        select r.rulename::text
        from pg_rewrite as r join pg_class as c on c.oid = r.ev_class
        where c.relnamespace = 'pgdurable'::regnamespace and r.rulename <> '_RETURN'
        union all
        select e.evtname::text
        from pg_event_trigger as e join pg_proc as p on p.oid = e.evtfoid
        where p.pronamespace = 'pgdurable'::regnamespace
        union all
        select c.relname::text
        from pg_class as c
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind = 'S'
    """)
    assert found == []


def test_nothing_of_ours_is_in_another_schema(catalog: Catalog) -> None:
    elsewhere = catalog.ask("""
        select c.relname::text
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname not in ('pgdurable', 'information_schema')
        union all
        select p.proname::text
        from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname !~ '^pg_' and n.nspname not in ('pgdurable', 'information_schema')
    """)
    assert elsewhere == []


def test_everything_public_has_a_comment_of_one_sentence(catalog: Catalog) -> None:
    commented = catalog.ask("""
        select p.proname::text, obj_description(p.oid, 'pg_proc')
        from pg_proc as p
        where p.pronamespace = 'pgdurable'::regnamespace and p.proname !~ '^_'
        union all
        select c.relname::text, obj_description(c.oid, 'pg_class')
        from pg_class as c
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('r', 'p', 'v')
        union all
        select n.nspname::text, obj_description(n.oid, 'pg_namespace')
        from pg_namespace as n
        where n.nspname = 'pgdurable'
    """)
    comments: dict[str, str | None] = {name: comment for name, comment in commented}
    assert len(comments) > 40
    sentence = re.compile(r"[A-Z][^\n]{14,110}\.")
    assert [name for name, text in comments.items() if not sentence.fullmatch(text or "")] == []


def test_arguments_begin_with_p_and_what_is_returned_does_not(catalog: Catalog) -> None:
    named = catalog.ask("""
        select p.proname::text, a.name, coalesce(p.proargmodes[a.n::int] = 't', false)
        from pg_proc as p, unnest(p.proargnames) with ordinality as a (name, n)
        where p.pronamespace = 'pgdurable'::regnamespace
    """)
    assert len(named) > 100
    wrong = [row for row in named if row[1].startswith("p_") == row[2]]
    assert wrong == []
    assert catalog.functions("p.pronargs > 0 and p.proargnames is null") == []


def test_locals_begin_with_v(catalog: Catalog) -> None:
    declared = [
        name
        for function in all_functions().values()
        for block in re.findall(r"^declare\n(.*?)^begin$", function.body, re.M | re.S)
        for name in re.findall(r"^  (\w+) ", block, re.M)
    ]
    assert len(declared) > 20
    assert [name for name in declared if not name.startswith("v_")] == []


def test_every_private_function_is_called_and_none_is_explained_to_people() -> None:
    text = "\n".join(path.read_text("utf-8") for path in FILES)
    private = [name for name, function in all_functions().items() if function.is_private]
    assert len(private) > 20
    called = re.findall(r"(?<!function )\bpgdurable\.(_\w+)\(", text)
    assert sorted(set(private) - set(called)) == []
    assert re.findall(r"comment on function pgdurable\.(_\w+)", text) == []


def test_every_constraint_has_a_name_that_somebody_gave_it(catalog: Catalog) -> None:
    generated = catalog.ask(r"""
        select k.conname::text
        from pg_constraint as k
        where k.connamespace = 'pgdurable'::regnamespace
          and k.contype in ('c', 'f', 'u', 'x')
          and k.conname ~ '_(check|fkey|key|excl)\d*$'
    """)
    assert generated == []


def test_no_literal_depends_on_standard_conforming_strings() -> None:
    for path in FILES:
        code = re.sub(r"/\*.*?\*/|--[^\n]*", "", path.read_text(), flags=re.DOTALL)
        for prefix, literal in re.findall(r"(E?)'([^']*)'", code):
            assert prefix or "\\" not in literal, f"{path.name}: '{literal}' needs E''"
