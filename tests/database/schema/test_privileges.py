"""A role that may not: told what it lacks, on what, and the GRANT that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from pgdurable.database import schema
from pgdurable.database.schema import Fit, MigrationFailed
from tests.support.catalog import has_schema

ROLE = "Ordinary Role"


@pytest.fixture
def role(admin: psycopg.Connection[TupleRow]) -> Iterator[str]:
    name = sql.Identifier(ROLE)
    admin.execute(sql.SQL("create role {} login").format(name))
    yield ROLE
    admin.execute(sql.SQL("drop role {}").format(name))


@pytest.fixture
def forget(role: str, admin_dsn: str) -> Iterator[list[str]]:
    """DSNs of databases in which the role owns or was granted something."""
    dsns: list[str] = []
    yield dsns
    for dsn in dsns:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(role)))


def advice(dsn: str) -> str:
    """The GRANT in the message."""
    with pytest.raises(MigrationFailed, match="nothing has changed") as caught:
        schema.migrate(dsn)
    assert ROLE in str(caught.value)
    found = re.search(r"Run: (GRANT .*;)$", str(caught.value))
    assert found, str(caught.value)
    return found[1]


def test_a_role_that_may_not_create_is_told_the_grant_that_helps(
    empty_dsn: str, role: str, forget: list[str]
) -> None:
    forget.append(empty_dsn)
    theirs = make_conninfo(empty_dsn, user=role)
    grant = advice(theirs)
    assert grant.startswith('GRANT CREATE ON DATABASE "empty_')
    assert not has_schema(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(grant.encode())
    assert schema.migrate(theirs).fit is Fit.MISSING


def test_a_role_is_led_grant_by_grant_to_an_installation_of_somebody_else(
    dsn: str, role: str, forget: list[str]
) -> None:
    forget.append(dsn)
    theirs = make_conninfo(dsn, user=role)
    with psycopg.connect(dsn, autocommit=True) as conn:
        grants = []
        for _ in range(2):
            grants.append(advice(theirs))
            conn.execute(grants[-1].encode())
    assert grants[0] == f'GRANT USAGE ON SCHEMA pgdurable TO "{ROLE}";'
    assert grants[1].startswith("GRANT SELECT ON pgdurable.schema_files")
    assert schema.check(theirs).fit is Fit.CURRENT


def test_a_role_that_may_read_but_not_replace_is_told_who_owns_it(
    dsn: str, role: str, forget: list[str]
) -> None:
    forget.append(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute(
            sql.SQL("""
                grant usage on schema pgdurable to {role};
                grant select on all tables in schema pgdurable to {role};
                update pgdurable.schema_files set checksum = 'old';
            """).format(role=sql.Identifier(role))
        )
        owner = conn.info.user
    assert advice(make_conninfo(dsn, user=role)) == f'GRANT "{owner}" TO "{role}";'


def test_a_role_that_owns_the_schema_needs_nothing_on_the_database(
    empty_dsn: str, role: str, forget: list[str]
) -> None:
    forget.append(empty_dsn)
    name = sql.Identifier(role)
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(sql.SQL("create schema pgdurable authorization {}").format(name))
    theirs = make_conninfo(empty_dsn, user=role)
    assert schema.migrate(theirs).fit is Fit.MISSING
    assert schema.migrate(theirs, reapply=True).fit is Fit.CURRENT
