"""`pgdurable migrate`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgdurable.database import schema
from pgdurable.database.schema import Fit
from pgdurable.database.schema.plan import LOCK
from tests.cli.command import refused, said


def test_migrate_says_each_step_and_then_that_there_is_nothing_to_do(empty_dsn: str) -> None:
    out, err = said("migrate", dsn=empty_dsn)
    assert "  02_tables.sql\n" in out and "The schema pgdurable is there: release" in out
    assert err == ""
    out, _ = said("migrate", dsn=empty_dsn)
    assert out.startswith("Nothing to do") and len(out.splitlines()) == 1


def test_status_tells_by_its_exit_code_whether_there_is_something_to_do(empty_dsn: str) -> None:
    out, _ = said("migrate", "--status", dsn=empty_dsn, status=1)
    assert "no schema yet" in out and "02_tables.sql" in out
    assert schema.status(empty_dsn).fit is Fit.MISSING, "--status changes nothing"
    said("migrate", dsn=empty_dsn)
    out, _ = said("migrate", "--status", dsn=empty_dsn)
    assert "(current)" in out


def test_print_writes_sql_for_an_empty_database_without_starting_one(home: Path) -> None:
    out, _ = said("migrate", "--print", env={"PGDURABLE_HOME": str(home)})
    assert out == schema.script()
    assert list(home.iterdir()) == []


def test_print_writes_what_the_named_database_lacks(dsn: str, empty_dsn: str) -> None:
    assert "create table pgdurable.responses" in said("migrate", "--print", dsn=empty_dsn)[0]
    assert "nothing to do" in said("migrate", "--print", dsn=dsn)[0]


def test_reapply_runs_the_functions_again(dsn: str) -> None:
    out, _ = said("migrate", "--reapply", dsn=dsn)
    assert "  99_roles.sql\n" in out and "02_tables.sql" not in out
    assert "Applied again" in out


def test_a_lock_that_somebody_holds_is_waited_for_and_then_named(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        err = refused("migrate", "--lock-timeout", "0.2s", dsn=empty_dsn)
    assert "waited 0.2 s" in err and "nothing has changed" in err


def test_a_newer_schema_is_left_alone(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "insert into pgdurable.schema_migrations values (9999, '9999_future.sql', now())"
        )
    assert "newer" in refused("migrate", dsn=dsn)
    assert "9999_future.sql" in said("migrate", "--status", dsn=dsn, status=1)[0]


@pytest.mark.parametrize("flags", [("--status", "--print"), ("--print", "--reapply")])
def test_contradicting_flags_are_refused(flags: tuple[str, str], dsn: str) -> None:
    assert "exclude each other" in refused("migrate", *flags, dsn=dsn, status=2)


def test_without_a_dsn_it_is_the_embedded_postgres_and_says_so(home: Path) -> None:
    env = {"PGDURABLE_HOME": str(home)}
    out, err = said("migrate", env=env)
    assert f"using the embedded Postgres in {home}" in err
    assert "The schema pgdurable is there" in out
    out, err = said("ls", env=env)
    assert f"using the embedded Postgres in {home}" in err and "No responses." in err
