"""An empty database, an older one, many at once, and what goes wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import schema
from pgdurable.database.schema import Fit, MigrationFailed
from pgdurable.database.schema.plan import LOCK
from pgdurable.errors import DatabaseUnavailable, SchemaMismatch
from tests.database.schema.conftest import Release
from tests.support.catalog import catalog, has_schema

ADD_NOTE = "alter table pgdurable.workers add column note text;"


def with_note(release: Release) -> None:
    """The same column twice: in the tables as of now, and as a migration."""
    release.append("02_tables.sql", ADD_NOTE)
    release.write("migrations/9001_add_note.sql", ADD_NOTE)


def test_an_empty_database_gets_everything_in_file_order(empty_dsn: str) -> None:
    applied: list[str] = []
    before = schema.migrate(empty_dsn, progress=applied.append)
    assert before.fit is Fit.MISSING
    assert applied[:3] == ["00_base.sql", "01_schema_history.sql", "02_tables.sql"]
    assert applied == [*sorted(applied[:-1]), "bookkeeping"]
    assert schema.check(empty_dsn).fit is Fit.CURRENT


def test_a_second_time_changes_nothing(empty_dsn: str) -> None:
    schema.migrate(empty_dsn)
    before, applied = catalog(empty_dsn), list[str]()
    assert schema.migrate(empty_dsn, progress=applied.append).fit is Fit.CURRENT
    assert applied == []
    assert catalog(empty_dsn) == before


def test_every_repeatable_file_can_be_applied_again(empty_dsn: str) -> None:
    schema.migrate(empty_dsn)
    before, applied = catalog(empty_dsn), list[str]()
    schema.migrate(empty_dsn, progress=applied.append, reapply=True)
    assert "00_base.sql" in applied and "02_tables.sql" not in applied
    assert catalog(empty_dsn) == before


def test_twenty_at_once_apply_it_once(empty_dsn: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = [s.fit for s in pool.map(lambda _: schema.migrate(empty_dsn), range(20))]
    assert sorted(found) == [Fit.CURRENT] * 19 + [Fit.MISSING]
    assert schema.check(empty_dsn).fit is Fit.CURRENT


def test_a_changed_file_applies_all_of_them_again(empty_dsn: str, release: Release) -> None:
    schema.migrate(empty_dsn)
    release.append("00_base.sql", "comment on schema pgdurable is 'changed';")
    assert schema.status(empty_dsn, wanted=release.load()).changed_files == ["00_base.sql"]
    schema.migrate(empty_dsn, wanted=release.load())
    assert "changed" in str(catalog(empty_dsn)["schema"])
    assert schema.check(empty_dsn, wanted=release.load()).fit is Fit.CURRENT


def test_a_migration_brings_an_older_database_to_what_a_fresh_one_is(
    empty_dsn: str, dsn: str, release: Release
) -> None:
    with_note(release)
    wanted, applied = release.load("90.2"), list[str]()
    assert schema.status(dsn, wanted=wanted).pending == ["9001_add_note.sql"]
    schema.migrate(dsn, wanted=wanted, progress=applied.append)
    schema.migrate(empty_dsn, wanted=wanted)
    assert applied[0] == "migrations/9001_add_note.sql"
    assert catalog(dsn) == catalog(empty_dsn)


def test_a_migration_runs_once(dsn: str, release: Release) -> None:
    with_note(release)
    schema.migrate(dsn, wanted=release.load("90.2"))
    assert schema.migrate(dsn, wanted=release.load("90.2")).fit is Fit.CURRENT
    release.append("00_base.sql", "-- changed")
    applied: list[str] = []
    schema.migrate(dsn, wanted=release.load("90.3"), progress=applied.append)
    assert applied and not any(name.startswith("migrations/") for name in applied)


def test_a_file_that_fails_leaves_nothing_and_is_named(empty_dsn: str, release: Release) -> None:
    lines = (release.folder / "20_claim.sql").read_text().count("\n")
    release.append("20_claim.sql", "select no_such_column;")
    with pytest.raises(MigrationFailed) as caught:
        schema.migrate(empty_dsn, wanted=release.load())
    assert f"20_claim.sql, line {lines + 2}: column" in str(caught.value)
    assert "nothing has changed" in str(caught.value)
    assert not has_schema(empty_dsn)


def test_a_migration_that_fails_leaves_the_old_schema(dsn: str, release: Release) -> None:
    before = catalog(dsn)
    with_note(release)
    release.write("migrations/9002_fails.sql", "alter table pgdurable.no_such_table add x int;")
    with pytest.raises(MigrationFailed, match=r"9002_fails\.sql"):
        schema.migrate(dsn, wanted=release.load("90.2"))
    assert catalog(dsn) == before


def test_waiting_for_another_migration_is_bounded(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as other:
        other.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        with pytest.raises(MigrationFailed, match=r"waited 0.1 s for a lock that another session"):
            schema.migrate(empty_dsn, lock_timeout=timedelta(milliseconds=100))
    assert not has_schema(empty_dsn)


def test_waiting_for_a_busy_table_is_bounded(dsn: str, release: Release) -> None:
    with_note(release)
    with psycopg.connect(dsn) as other:
        other.execute("lock table pgdurable.workers in access share mode")
        with pytest.raises(MigrationFailed, match=r"9001_add_note.sql: waited 0.1 s"):
            schema.migrate(
                dsn, wanted=release.load("90.2"), lock_timeout=timedelta(milliseconds=100)
            )
    assert schema.check(dsn).fit is Fit.CURRENT


def test_a_newer_database_is_refused_and_left_alone(dsn: str, release: Release) -> None:
    with_note(release)
    schema.migrate(dsn, wanted=release.load("90.2"))
    before = catalog(dsn)
    for refuse in (schema.migrate, schema.check):
        with pytest.raises(SchemaMismatch, match=r"9001_add_note.*Upgrade pgdurable") as caught:
            refuse(dsn)
        assert caught.value.sqlstate == "PD005"
    assert catalog(dsn) == before


def test_functions_of_a_newer_release_are_accepted_and_left_alone(
    dsn: str, release: Release
) -> None:
    release.append("00_base.sql", "comment on schema pgdurable is 'of 99.0';")
    schema.migrate(dsn, wanted=release.load("99.0"))
    assert schema.check(dsn).fit is Fit.NEWER_FUNCTIONS
    schema.migrate(dsn, reapply=True)
    assert "of 99.0" in str(catalog(dsn)["schema"])


def test_an_unreachable_server_is_an_error_of_ours() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot connect to Postgres"):
        schema.migrate("postgresql://127.0.0.1:1/none?connect_timeout=5")
