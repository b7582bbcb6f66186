"""The wire and the command line under what a DBA or an environment may have set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdurable import AgentRequest
from pgdurable.database import connections
from pgdurable_cli.main import main
from tests.support.inside import Inside, inside, text_of
from tests.support.pgbouncer import pooled

# Of the database, in groups whose members do not hide each other.
GROUPS: dict[str, dict[str, str]] = {
    "dates": {
        "datestyle": "German, DMY",
        "intervalstyle": "sql_standard",
        "timezone": "Asia/Kathmandu",
        "lc_time": "C",
        "extra_float_digits": "-15",
    },
    "other dates": {
        "datestyle": "SQL, MDY",
        "intervalstyle": "iso_8601",
        "timezone": "<+13>-13",
        "array_nulls": "off",
        "client_encoding": "SQL_ASCII",
    },
    "old dates": {
        "datestyle": "Postgres, YMD",
        "intervalstyle": "postgres_verbose",
        "timezone": "America/St_Johns",
        "client_encoding": "LATIN1",
        "default_text_search_config": "pg_catalog.simple",
        "client_min_messages": "error",
    },
    "literals": {
        "standard_conforming_strings": "off",
        "escape_string_warning": "on",
        "backslash_quote": "off",
        "bytea_output": "escape",
        "quote_all_identifiers": "on",
        "transform_null_equals": "on",
        "xmloption": "document",
        "xmlbinary": "hex",
        "lo_compat_privileges": "on",
    },
    "names": {
        "search_path": "nowhere",
        "row_security": "off",
        "check_function_bodies": "off",
        "default_table_access_method": "heap",
        "temp_tablespaces": "",
    },
    "transactions": {
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
        "synchronous_commit": "off",
        "client_connection_check_interval": "1s",
    },
    "repeatable": {"default_transaction_isolation": "repeatable read"},
    "timeouts": {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "1s",
        "deadlock_timeout": "10ms",
        "gin_pending_list_limit": "64kB",
    },
    "sessions that end": {"idle_session_timeout": "150ms"},
    "plans": {
        "plan_cache_mode": "force_generic_plan",
        "jit": "on",
        "jit_above_cost": "0",
        "enable_indexscan": "off",
        "enable_indexonlyscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_nestloop": "off",
        "enable_sort": "off",
        "work_mem": "64kB",
    },
    "other plans": {
        "plan_cache_mode": "force_custom_plan",
        "enable_seqscan": "off",
        "enable_mergejoin": "off",
        "enable_material": "off",
        "enable_memoize": "off",
        "from_collapse_limit": "1",
        "join_collapse_limit": "1",
        "geqo_threshold": "2",
        "random_page_cost": "1000",
        "cursor_tuple_fraction": "1",
        "constraint_exclusion": "on",
    },
}
ENVIRONMENTS = {
    "encoding": {"PGCLIENTENCODING": "LATIN1"},
    "ascii": {"PGCLIENTENCODING": "SQL_ASCII"},
    "dates": {"PGDATESTYLE": "SQL, DMY", "PGTZ": "Asia/Kathmandu"},
    "options": {
        "PGOPTIONS": "-c client_encoding=LATIN1 -c intervalstyle=iso_8601 -c array_nulls=off"
    },
}
TEXT = "naïve Grüße, 你好, \\d 'x' NULL"


def test_there_are_many() -> None:
    assert sum(map(len, [*GROUPS.values(), *ENVIRONMENTS.values()])) >= 50


@pytest.mark.parametrize("group", GROUPS)
async def test_what_a_database_has_set_changes_nothing(group: str, dsn: str) -> None:
    orphan = _orphan(dsn)
    _set(dsn, GROUPS[group])
    await _all_of_it(dsn, orphan)


@pytest.mark.parametrize("name", ENVIRONMENTS)
async def test_what_an_environment_has_set_changes_nothing(
    name: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = _orphan(dsn)
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value)
    await _all_of_it(dsn, orphan)


def _set(dsn: str, settings: dict[str, str]) -> None:
    """As settings of the database, for every session to come."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        database = sql.Identifier(conn.info.dbname)
        for name, value in settings.items():
            change = sql.SQL("alter database {} set {} = {}")
            conn.execute(change.format(database, sql.SQL(name), _setting(name, value)))


def _setting(name: str, value: str) -> sql.Composable:
    """Lists of settings are not quoted as one value."""
    if name in ("datestyle", "search_path"):
        return sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
    return sql.Literal(value)


def _orphan(dsn: str) -> str:
    """A response whose worker has died in the middle of it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "select pgdurable.enqueue_response(json_build_object('input', 'lost'))"
        ).fetchone()
        conn.execute("select pgdurable.claim_responses('gone', '{default}', 1, '1 ms', '{agent}')")
    assert row is not None
    return str(row[0])


async def _echo(request: AgentRequest) -> AsyncIterator[str]:
    yield TEXT


async def _all_of_it(dsn: str, orphan: str) -> None:
    async with inside(dsn, _echo) as server:
        first = await _posted(server)
        assert await _posted(server) != first, "without a key each request is a new response"
        assert await _posted(server, key="é-1") == await _posted(server, key="é-1")
        frames = b"".join(await server.frames(first))
        assert b"response.completed" in frames
        found = await server.get(first)
        assert text_of(found) == TEXT and found["metadata"] == {"who": "é"}
        assert text_of(await server.finished(orphan)).endswith(TEXT)
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "select pgdurable.enqueue_response(json_build_object('input', 'hi'))"
        ).fetchone()
    assert row is not None
    queued = row[0] if isinstance(row[0], str) else row[0].decode()  # bytes in SQL_ASCII
    await asyncio.to_thread(_commands, dsn, first, orphan, queued)


async def _posted(server: Inside, key: str | None = None) -> str:
    headers = {} if key is None else {"Idempotency-Key": key}
    body: dict[str, Any] = {"input": "é", "background": True, "metadata": {"who": "é"}}
    url = f"{server.url}/responses"
    async with server.session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        response_id = str((await answer.json())["id"])
    await server.finished(response_id)
    return response_id


def _commands(dsn: str, first: str, orphan: str, queued: str) -> None:
    assert f"{first}  completed" in _said(dsn, "ls")
    assert "takeover" in _said(dsn, "show", orphan)
    assert "你好" in _said(dsn, "tail", first)
    assert "is cancelled" in _said(dsn, "cancel", queued)
    assert "resp_" in _said(dsn, "retry", queued)
    assert "current" in _said(dsn, "migrate", "--status")
    assert "Nothing to do" in _said(dsn, "migrate")
    assert "Deleted 0" in _said(dsn, "prune", "--older-than", "2d")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select pgdurable.prune_responses(interval '-1 second')")


def _said(dsn: str, *args: str) -> str:
    done = CliRunner().invoke(main, [*args, "--dsn", dsn], env=dict(os.environ))
    assert done.exit_code == 0, (args, done.output, done.exception)
    return done.output


NEIGHBOUR = """
set datestyle = 'German'; set intervalstyle = 'iso_8601'; set array_nulls = off;
set client_encoding = 'LATIN1'; set standard_conforming_strings = off;
set timezone = 'Asia/Kathmandu';
set extra_float_digits = -15; set search_path = 'nowhere'; set bytea_output = 'escape';
set quote_all_identifiers = on; set transform_null_equals = on
"""


def _left_behind(pooler: str, statements: str, sessions: int) -> None:
    """What another client of the pool has set in each of its sessions, and never reset."""
    for _ in range(3 * sessions):
        with psycopg.connect(pooler, autocommit=True) as neighbour:
            neighbour.execute(statements.encode())


async def test_what_a_neighbour_in_the_same_pool_has_set_changes_nothing(dsn: str) -> None:
    orphan = _orphan(dsn)
    with pooled(dsn, connections=1) as pooler:
        _left_behind(pooler, NEIGHBOUR, 1)
        await _all_of_it(pooler, orphan)


@pytest.mark.parametrize("group", GROUPS)
async def test_what_a_database_behind_a_pooler_has_set_changes_nothing(
    group: str, dsn: str
) -> None:
    orphan = _orphan(dsn)
    _set(dsn, GROUPS[group])
    with pooled(dsn) as pooler:
        await _all_of_it(pooler, orphan)


async def test_a_neighbour_that_forbids_writes_is_named(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pooled(dsn, connections=1) as pooler:
        async with inside(pooler, _echo, worker=False) as server:
            _left_behind(pooler, "set default_transaction_read_only = on", 1)
            url, body = f"{server.url}/responses", {"input": "hi", "background": True}
            async with server.session.post(url, json=body) as answer:
                assert answer.status == 503
        assert "default_transaction_read_only is on in this session" in caplog.text
        assert "a pool of its own" in caplog.text


async def test_what_the_connection_string_says_wins(dsn: str) -> None:
    theirs = make_conninfo(dsn, application_name="billing", keepalives_idle=77, connect_timeout=9)
    async with await connections.connect(theirs, name="pgdurable") as conn:
        said = conn.info.get_parameters()
    assert (said["application_name"], said["keepalives_idle"]) == ("billing", "77")
    assert (said["connect_timeout"], said["keepalives_interval"]) == ("9", "5")
