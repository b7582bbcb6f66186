"""sql/99_roles.sql: the runtime may do its work, readers may read the views, nobody else anything.

Roles belong to a whole server, so this one is the test's own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from pgdurable.database import connections, queries, schema
from pgdurable.database.embedded import FAST_SETTINGS, EmbeddedPostgres
from pgdurable.models import Status
from tests.support.engine import (
    LEASE,
    Conn,
    append,
    claim,
    delta,
    end_by_takeover,
    enqueue,
    finish,
    release,
    start,
    value,
)
from tests.support.places import roomy_folder

VIEWS = (
    "response_overview",
    "queue_depth",
    "expired_leases",
    "worker_activity",
    "conversation_overview",
)


@pytest.fixture(scope="module")
def server_dsn() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pgdurable-roles-", dir=roomy_folder()) as home:
        os.chmod(home, 0o755)
        with EmbeddedPostgres(home, settings=FAST_SETTINGS) as server:
            dsn = server.dsn()
            schema.migrate(dsn)
            with psycopg.connect(dsn, autocommit=True) as conn:
                for role in ("pgdurable_runtime", "pgdurable_reader", "stranger"):
                    conn.execute(f"create role {role} login".encode())
            schema.migrate(dsn, reapply=True)
            yield dsn


async def as_role(dsn: str, role: str) -> AsyncIterator[Conn]:
    async with await connections.connect(make_conninfo(dsn, user=role), name="test") as conn:
        yield conn


@pytest.fixture
async def runtime(server_dsn: str) -> AsyncIterator[Conn]:
    async for conn in as_role(server_dsn, "pgdurable_runtime"):
        yield conn


@pytest.fixture
async def reader(server_dsn: str) -> AsyncIterator[Conn]:
    async for conn in as_role(server_dsn, "pgdurable_reader"):
        yield conn


@pytest.fixture
async def stranger(server_dsn: str) -> AsyncIterator[Conn]:
    async for conn in as_role(server_dsn, "stranger"):
        yield conn


async def test_the_runtime_can_do_all_it_does(runtime: Conn, server_dsn: str) -> None:
    theirs = make_conninfo(server_dsn, user="pgdurable_runtime")
    assert schema.check(theirs).fit is schema.Fit.CURRENT
    await queries.register_worker(
        runtime,
        worker_id="a",
        host="h",
        pid=1,
        queues=["default"],
        concurrency=1,
        version="0",
        agents=["agent"],
    )
    held = await start(runtime, key="k", conversation="c")
    await append(runtime, held, delta())
    with connections.connect_sync(theirs, name="heartbeat") as thread:
        attempts = {held.response_id: 1}
        (beat,) = queries.heartbeat(thread, worker_id="a", attempts=attempts, lease=LEASE)
        assert beat.outcome == "ok"
    await queries.upsert_conversation_alias(
        runtime, principal="", base="c", current="d", response_id=held.response_id, attempt=1
    )
    await release(runtime, held)
    (again,) = await claim(runtime)
    await queries.cancel_response(runtime, response_id=held.response_id, principal="")
    await finish(runtime, again, Status.CANCELLED)
    retried = await queries.retry_response(runtime, response_id=held.response_id, principal="")
    await queries.cancel_response(runtime, response_id=retried, principal="")
    await queries.delete_response(runtime, response_id=retried, principal="")
    await enqueue(runtime, deadline=timedelta(0))
    assert [ended.status for ended in await end_by_takeover(runtime)] == [Status.FAILED]
    await queries.wake(runtime, channel="pgdurable_tail", ids=[held.response_id])
    assert len(await queries.read_events(runtime, {held.response_id: -1})) == 5
    await queries.get_response(runtime, response_id=held.response_id, principal="")
    await queries.prune_responses(runtime, older_than=timedelta(days=1), limit=10)
    await queries.unregister_worker(runtime, worker_id="a")
    for view in VIEWS:
        await value(runtime, f"select count(*) from pgdurable.{view}")


async def test_the_runtime_cannot_change_the_schema_or_its_history(runtime: Conn) -> None:
    for statement in (
        "create table pgdurable.mine ()",
        "drop table pgdurable.events",
        "truncate pgdurable.events",
        "create or replace function pgdurable.now() returns timestamptz language sql as 'select 1'",
        "delete from pgdurable.schema_files",
        "insert into pgdurable.schema_migrations values (1, 'x', now())",
        "update pgdurable.schema_files set checksum = 'x'",
    ):
        with pytest.raises(InsufficientPrivilege):
            await runtime.execute(statement.encode())


async def test_a_reader_reads_the_views_and_nothing_else(reader: Conn) -> None:
    for view in VIEWS:
        await value(reader, f"select count(*) from pgdurable.{view}")
    tables = ("responses", "requests", "events", "attempts", "idempotency_keys", "schema_files")
    for table in tables:
        with pytest.raises(InsufficientPrivilege):
            await value(reader, f"select count(*) from pgdurable.{table}")
    for call in (
        """select pgdurable.enqueue_response('{"input":""}')""",
        "select pgdurable.cancel_response('x')",
        "select * from pgdurable.get_response('x')",
        "select pgdurable.wake('pgdurable_work', array['x'])",
        "delete from pgdurable.response_overview",
    ):
        with pytest.raises(InsufficientPrivilege):
            await reader.execute(call.encode())


async def test_a_stranger_can_do_nothing(stranger: Conn, reader: Conn) -> None:
    for statement in ("select pgdurable.now()", "select * from pgdurable.queue_depth"):
        with pytest.raises(InsufficientPrivilege):
            await stranger.execute(statement.encode())
    open_to_all = await value(
        reader,
        """
        select count(*) from pg_proc as p, aclexplode(p.proacl) as a
        where p.pronamespace = 'pgdurable'::regnamespace and a.grantee = 0
        """,
    )
    unset = await value(
        reader,
        "select count(*) from pg_proc as p"
        " where p.pronamespace = 'pgdurable'::regnamespace and p.proacl is null",
    )
    assert (open_to_all, unset) == (0, 0)


async def test_a_role_made_later_is_served_when_the_files_are_applied_again(
    server_dsn: str,
) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute("revoke all on pgdurable.queue_depth from pgdurable_reader")
        granted = (
            "select has_table_privilege('pgdurable_reader', 'pgdurable.queue_depth', 'select')"
        )
        schema.migrate(server_dsn)
        assert conn.execute(granted.encode()).fetchone() == (False,)
        schema.migrate(server_dsn, reapply=True)
        assert conn.execute(granted.encode()).fetchone() == (True,)


def test_the_check_at_start_knows_what_each_role_may_do(server_dsn: str) -> None:
    def lacking(user: str, role: str) -> str:
        with pytest.raises(schema.RoleMissing) as caught:
            schema.require_role(make_conninfo(server_dsn, user=user), role)
        return str(caught.value)

    schema.require_role(make_conninfo(server_dsn, user="pgdurable_runtime"), schema.RUNTIME)
    schema.require_role(make_conninfo(server_dsn, user="pgdurable_reader"), schema.READER)
    assert lacking("pgdurable_reader", schema.RUNTIME) == (
        'role "pgdurable_reader" has pgdurable_reader and needs pgdurable_runtime here. '
        'Run: grant pgdurable_runtime to "pgdurable_reader";'
    )
    assert lacking("stranger", schema.READER) == (
        'role "stranger" has no role of pgdurable and needs pgdurable_reader here. '
        'Run: grant pgdurable_reader to "stranger";'
    )


def test_the_grant_that_the_check_names_is_enough(server_dsn: str) -> None:
    stranger = make_conninfo(server_dsn, user="stranger")
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute("grant pgdurable_runtime to stranger")
        try:
            schema.require_role(stranger)
            assert schema.check(stranger).fit is schema.Fit.CURRENT
        finally:
            conn.execute("revoke pgdurable_runtime from stranger")
