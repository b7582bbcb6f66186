"""Which programs are chosen, and what is said when none fits."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from pgdurable.database.embedded import (
    FAST_SETTINGS,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    default_home,
    find_binaries,
)


def fake_postgres(folder: Path, says: str, status: int = 0) -> Path:
    """A folder of programs that only tell their version."""
    folder.mkdir(parents=True)
    for tool in ("postgres", "initdb", "pg_ctl"):
        program = folder / tool
        program.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_the_variable_chooses_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_postgres(tmp_path / "bin", "postgres (PostgreSQL) 17.5")
    monkeypatch.setenv("PGDURABLE_PG_BIN", str(folder))
    assert find_binaries() == folder


def test_a_variable_that_names_an_empty_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDURABLE_PG_BIN", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match="does not hold postgres, initdb and pg_ctl"):
        find_binaries()


@pytest.mark.parametrize(
    ("says", "status", "told"),
    [
        ("postgres (PostgreSQL) 14.9", 0, "PostgreSQL 14"),
        ("error while loading shared libraries: libicu", 127, "does not run"),
    ],
)
def test_programs_too_old_or_broken_are_refused_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, status: int, told: str
) -> None:
    folder = fake_postgres(tmp_path / "bin", says, status)
    monkeypatch.setenv("PGDURABLE_PG_BIN", str(folder))
    with pytest.raises(EmbeddedPostgresError, match="apt-get install postgresql") as caught:
        find_binaries()
    assert told in str(caught.value)


def test_another_majors_data_directory_is_refused_naming_both(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_postgres(tmp_path / "bin", "postgres (PostgreSQL) 17.5")
    monkeypatch.setenv("PGDURABLE_PG_BIN", str(folder))
    (home / "data").mkdir()
    (home / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedPostgres(home, settings=FAST_SETTINGS).start()
    assert f"{home / 'data'} was made by PostgreSQL 16" in str(caught.value)
    assert "PostgreSQL 17" in str(caught.value)


def test_the_home_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDURABLE_HOME", str(tmp_path))
    assert default_home() == tmp_path


def test_a_mac_keeps_its_data_where_macs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGDURABLE_HOME", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 501)
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/ada")
    assert default_home() == Path("/Users/ada/Library/Application Support/pgdurable")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs what it can read")
def test_programs_the_servers_account_may_not_read_are_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = find_binaries().parent
    closed = home / "closed" / "site" / install.parent.name
    shutil.copytree(install, closed / install.name, symlinks=True)
    if (libs := install.parent.with_suffix(".libs")).is_dir():
        shutil.copytree(libs, closed.with_suffix(".libs"))
    (home / "closed").chmod(0o700)
    monkeypatch.setenv("PGDURABLE_PG_BIN", str(closed / install.name / "bin"))
    monkeypatch.setattr("pgdurable.database.embedded.binaries.CACHE", home / "cache")
    with EmbeddedPostgres(home / "pg", settings=FAST_SETTINGS) as server:
        assert server.started_here
    assert len(list((home / "cache").iterdir())) == 1
    assert (home / "closed").stat().st_mode & 0o777 == 0o700
