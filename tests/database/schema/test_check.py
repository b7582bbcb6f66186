"""What a server or a worker is told at its start."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from psycopg.conninfo import make_conninfo

from pgdurable.database import schema
from pgdurable.database.schema import Fit
from pgdurable.database.schema.plan import release_order
from pgdurable.errors import SchemaMismatch
from tests.database.schema.conftest import Release


def test_a_database_without_the_schema_is_refused_with_the_command(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="has no pgdurable schema") as caught:
        schema.check(make_conninfo(empty_dsn, password="secret"))
    assert 'pgdurable migrate --dsn "$PGDURABLE_DSN"' in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_older_table_is_refused_with_the_command(dsn: str, release: Release) -> None:
    release.write("migrations/9001_more.sql", "select 1;")
    with pytest.raises(SchemaMismatch, match=r"it lacks 9001_more\.sql\. Run: pgdurable migrate"):
        schema.check(dsn, wanted=release.load("90.1"))


@pytest.mark.parametrize("number", ["90.1.0", "90.10.0rc1"])
def test_functions_that_differ_and_are_not_newer_are_refused(
    dsn: str, release: Release, number: str
) -> None:
    release.append("80_tail.sql", "-- changed")
    with pytest.raises(SchemaMismatch, match=r"another 80_tail\.sql\. Run: pgdurable") as caught:
        schema.check(dsn, wanted=release.load(number))
    assert f"is of pgdurable {version('pgdurable')} and does not fit pgdurable {number}" in str(
        caught.value
    )


def test_two_builds_of_one_release_are_told_apart_by_their_files(
    dsn: str, release: Release
) -> None:
    for name in ("20_claim", "30_lock", "40_append", "50_finish", "60_cancel"):
        release.append(f"{name}.sql", "-- changed")
    with pytest.raises(SchemaMismatch) as caught:
        schema.check(dsn, wanted=release.load())
    here = version("pgdurable")
    assert f"of another build and does not fit pgdurable {here}: it has another 20_" in str(
        caught.value
    )
    assert "30_lock.sql, 40_append.sql and 2 more. Run: pgdurable migrate" in str(caught.value)


def test_processes_may_start_while_an_index_is_missing(dsn: str, release: Release) -> None:
    release.write("migrations/9001_slow.concurrently.sql", "select 1;\n")
    found = schema.check(dsn, wanted=release.load())
    assert (found.fit, found.to_build) == (Fit.CURRENT, ["9001_slow.concurrently.sql"])


def test_the_same_functions_fit_every_release(dsn: str, release: Release) -> None:
    for number in ("0.0.1", "0.1.0", "7.0"):
        assert schema.check(dsn, wanted=release.load(number)).fit is Fit.CURRENT


def test_status_tells_without_changing(empty_dsn: str) -> None:
    for _ in range(2):
        found = schema.status(empty_dsn)
        assert found.fit is Fit.MISSING
        assert found.installed_release is None


def test_releases_are_compared_as_numbers() -> None:
    in_order = ["0.1.0", "0.2.0rc1", "0.2.0rc2", "0.2.0", "0.10.0", "1.0"]
    assert sorted(reversed(in_order), key=release_order) == in_order
    assert release_order("0.2.0+local.7") == release_order("0.2.0")
