"""`pgdurable migrate --print`: what psql makes of it equals what migrate makes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pgdurable.database import schema
from pgdurable.database.embedded import find_binaries
from tests.database.schema.conftest import Release
from tests.support.catalog import catalog, has_schema


@pytest.fixture
def psql() -> str:
    beside = find_binaries() / "psql"
    found = str(beside) if beside.exists() else shutil.which("psql")
    if found is None:
        pytest.skip("neither these PostgreSQL programs nor the system have psql")
    return found


def run_psql(psql: str, dsn: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [psql, "--no-psqlrc", "--quiet", dsn]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_the_script_makes_what_migrate_makes(psql: str, empty_dsn: str, dsn: str) -> None:
    done = run_psql(psql, empty_dsn, schema.script())
    assert (done.returncode, done.stderr) == (0, "")
    assert catalog(empty_dsn) == catalog(dsn)
    assert schema.check(empty_dsn)


def test_the_script_of_an_upgrade_makes_what_migrate_makes(
    psql: str, empty_dsn: str, dsn: str, release: Release
) -> None:
    add_note = "alter table pgdurable.workers add column note text;"
    release.append("02_tables.sql", add_note)
    release.write("migrations/9001_it_s_a_note.sql", add_note)
    wanted = release.load("90.2")
    upgrade = schema.script(schema.installed(dsn), wanted)
    assert "create table pgdurable.responses" not in upgrade
    assert run_psql(psql, dsn, upgrade).returncode == 0
    schema.migrate(empty_dsn, wanted=wanted)
    assert catalog(dsn) == catalog(empty_dsn)


def test_a_script_that_fails_leaves_nothing(psql: str, empty_dsn: str, release: Release) -> None:
    release.append("95_inspect.sql", "select no_such_column;")
    done = run_psql(psql, empty_dsn, schema.script(wanted=release.load()))
    assert done.returncode != 0
    assert "no_such_column" in done.stderr
    assert not has_schema(empty_dsn)


def test_the_script_for_a_database_that_fits_does_nothing(dsn: str) -> None:
    assert schema.script(schema.installed(dsn)).startswith("-- nothing to do")
