"""What follows the transaction: indexes, built while others read and write."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import schema
from pgdurable.database.schema import Fit, MigrationFailed, locks
from pgdurable.database.schema.files import SqlFile
from pgdurable.database.schema.plan import LOCK
from tests.database.schema.conftest import Release
from tests.support.catalog import catalog
from tests.support.engine import Conn, append, claim, enqueue, value
from tests.support.pgbouncer import pooled
from tests.support.psql import PSQL, needs_psql, session
from tests.support.waiting import blocked_by, wait_until

NAME = "9001_hosts.concurrently.sql"
ADD = "create index concurrently workers_host_idx on pgdurable.workers (host);"
BUILD = (
    f"/* For a test. */\ndrop index concurrently if exists pgdurable.workers_host_idx;\n\n{ADD}\n"
)
SHORT = timedelta(milliseconds=200)


@pytest.fixture
def indexed(release: Release) -> Release:
    """A release with one more index, on the table that a heartbeat writes."""
    release.append("02_tables.sql", ADD.replace("concurrently ", ""))
    release.write(f"migrations/{NAME}", BUILD)
    return release


def is_valid(dsn: str) -> bool | None:
    """Of the index; None where there is none."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute(
            "select indisvalid from pg_index"
            " where indexrelid = to_regclass('pgdurable.workers_host_idx')"
        ).fetchone()
    return found[0] if found else None


def leave_an_invalid_one(dsn: str) -> None:
    """As a build does that is cancelled: it waits for a transaction, and then it is not there."""
    with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as conn:
        other.execute("lock table pgdurable.workers in row exclusive mode")
        conn.execute("set lock_timeout = 100")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute(ADD.encode())
    assert is_valid(dsn) is False


def test_an_index_is_built_and_recorded(dsn: str, empty_dsn: str, indexed: Release) -> None:
    wanted, said = indexed.load(), list[str]()
    assert schema.status(dsn, wanted=wanted).to_build == [NAME]
    schema.migrate(dsn, wanted=wanted, progress=said.append)
    assert is_valid(dsn)
    assert said[-3:] == [*[f"migrations/{NAME}"] * 2, f"migrations/{NAME} is done"]
    assert schema.status(dsn, wanted=wanted).to_build == []
    schema.migrate(empty_dsn, wanted=wanted, progress=said.append)
    assert catalog(dsn) == catalog(empty_dsn), "a fresh one has it from the tables"
    said.clear()
    schema.migrate(dsn, wanted=wanted, progress=said.append)
    assert said == []


async def test_others_read_and_write_while_an_index_is_built(
    dsn: str, conn: Conn, indexed: Release
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("lock table pgdurable.workers in row exclusive mode")
        migration = asyncio.create_task(
            asyncio.to_thread(schema.migrate, dsn, wanted=indexed.load(), lock_timeout=SHORT)
        )
        await blocked_by(conn, other.info.backend_pid)
        await enqueue(conn)
        (held,) = await claim(conn, "w")
        assert (await append(conn, held)).outcome == "ok"
        await conn.execute("select pgdurable.register_worker('w', 'h', 1, '{default}', 1, '1')")
        assert not migration.done()
    await migration
    assert await value(
        conn,
        "select indisvalid from pg_index where indexrelid = %s::regclass",
        "pgdurable.workers_host_idx",
    )


def test_what_a_cancelled_build_has_left_is_built_anew(dsn: str, indexed: Release) -> None:
    leave_an_invalid_one(dsn)
    schema.migrate(dsn, wanted=indexed.load())
    assert is_valid(dsn)


def test_a_build_that_fails_says_what_stands_and_the_next_one_goes_on(
    dsn: str, indexed: Release
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "insert into pgdurable.workers select 'w' || n, 'same', n, '{}', 1, '1', now(), now()"
            " from generate_series(1, 2) as n"
        )
        unique = BUILD.replace("create index", "create unique index")
        indexed.write(f"migrations/{NAME}", unique)
        indexed.append("00_base.sql", "-- changed")
        wanted = indexed.load("90.2")
        with pytest.raises(MigrationFailed) as caught:
            schema.migrate(dsn, wanted=wanted)
        said = str(caught.value)
        assert said.startswith(f"migrations/{NAME}: could not create unique index")
        assert "processes can work. To go on: pgdurable migrate --dsn" in said
        found = schema.check(dsn, wanted=wanted)
        assert (found.fit, found.installed_release, found.to_build) == (Fit.CURRENT, "90.2", [NAME])
        assert is_valid(dsn) is False
        conn.execute("delete from pgdurable.workers where worker_id = 'w1'")
    schema.migrate(dsn, wanted=wanted)
    assert is_valid(dsn)


def test_a_statement_timeout_is_named_with_what_helps(dsn: str, indexed: Release) -> None:
    indexed.write(f"migrations/{NAME}", "select pg_sleep(9) as concurrently ;\n")
    slow = f"{dsn} options='-c statement_timeout=50'"
    with pytest.raises(MigrationFailed, match=r"PGOPTIONS='-c statement_timeout=0'"):
        schema.migrate(slow, wanted=indexed.load())


def test_a_statement_timeout_does_not_stop_the_transaction(dsn: str, release: Release) -> None:
    release.write("migrations/9000_slow.sql", "select pg_sleep(0.5);")
    schema.migrate(f"{dsn} options='-c statement_timeout=400'", wanted=release.load())
    assert schema.check(dsn, wanted=release.load()).fit is Fit.CURRENT


def test_many_at_once_build_it_once(dsn: str, indexed: Release) -> None:
    said: list[str] = []

    def migrate(_: int) -> None:
        schema.migrate(dsn, wanted=indexed.load("90.2"), progress=said.append)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(migrate, range(8)))
    assert is_valid(dsn)
    assert said.count(f"migrations/{NAME} is done") == 1


def test_one_that_another_migration_is_building_is_left_to_it(dsn: str, indexed: Release) -> None:
    said: list[str] = []
    with psycopg.connect(dsn) as other:
        other.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        schema.migrate(dsn, wanted=indexed.load(), lock_timeout=SHORT, progress=said.append)
    assert said == ["another migration is building the rest"]
    assert is_valid(dsn) is None


async def test_a_table_that_somebody_holds_is_tried_again_and_others_go_first(
    dsn: str, conn: Conn, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "TURN", SHORT)
    release.write("migrations/9000_note.sql", "alter table pgdurable.workers add column n text;")
    release.write(f"migrations/{NAME}", "alter table pgdurable.workers add column m text;\n")
    said: list[str] = []
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("lock table pgdurable.workers in access share mode")
        migration = asyncio.create_task(
            asyncio.to_thread(schema.migrate, dsn, wanted=release.load(), progress=said.append)
        )
        again = "another session holds a lock: trying again"
        await wait_until(lambda: said.count(again) >= 2, what="two tries")
    await migration
    assert schema.status(dsn, wanted=release.load()).fit is Fit.CURRENT


@needs_psql
def test_the_script_has_it_after_the_transaction(
    dsn: str, empty_dsn: str, indexed: Release
) -> None:
    assert PSQL
    leave_an_invalid_one(dsn)
    wanted = indexed.load()
    upgrade = schema.script(schema.installed(dsn), wanted)
    for _ in range(2):
        assert session(dsn, upgrade) == "", "what is there is done again, without harm"
    schema.migrate(empty_dsn, wanted=wanted)
    assert catalog(dsn) == catalog(empty_dsn)
    assert schema.script(schema.installed(dsn), wanted).startswith("-- nothing to do")


def test_it_works_through_a_transaction_pooler(dsn: str, indexed: Release) -> None:
    with pooled(dsn) as address:
        schema.migrate(address, wanted=indexed.load("90.2"))
    assert is_valid(dsn)


def test_statements_end_where_a_line_ends_with_a_semicolon() -> None:
    text = "/* a;\n b */\nselect 1; -- c;\nselect\n  ';';\n-- d;\n"
    assert SqlFile("x", text).statements == ["select 1;", "select\n  ';';"]
