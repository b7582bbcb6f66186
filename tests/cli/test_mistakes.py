"""What people get wrong: one clear message, an exit code, no traceback, no password."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdurable.database.embedded import EmbeddedPostgres
from tests.cli.command import free_port, refused
from tests.cli.responses import Connection

QUICK = "tests.cli.apps.quick:server"
ASKING = [("ls",), ("migrate",), ("migrate", "--status"), ("run", QUICK, "--port", "0")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nomodule:agent", "there is no module 'nomodule'"),
        ("tests.cli.nomodule", "there is no module 'tests.cli.nomodule'"),
        ("tests/cli/apps/slow.py", "name it as a module, seen from the current directory: "),
        ("tests.cli.apps.slow:nope", "has no 'nope'; it has agent"),
        ("tests.cli.apps.slow:", "is not MODULE or MODULE:ATTR"),
        (":agent", "is not MODULE or MODULE:ATTR"),
        ("tests.cli.apps.quick:app", "name the LongRunningAgentServer itself"),
        ("tests.cli.apps.quick", "has several servers: server, elsewhere"),
        ("tests.cli.apps.quick:empty", "has no handler"),
        ("tests.cli.apps.slow:asyncio", "is a module, neither"),
        ("tests.cli.command", "has no server and no agent"),
        ("tests.cli.apps.broken", "RuntimeError: the model's key is missing"),
        ("tests.cli.apps.twice", "tests/cli/apps/twice.py, line 18)"),
    ],
)
def test_a_target_that_is_none_is_refused(target: str, message: str, dsn: str) -> None:
    assert message in refused("run", target, "--port", "0", dsn=dsn)


def test_a_module_that_fails_to_import_is_shown_with_its_line(dsn: str) -> None:
    err = refused("run", "tests.cli.apps.broken", dsn=dsn)
    assert "apps/broken.py, line 3)" in err


@pytest.mark.parametrize("command", ASKING)
def test_a_database_that_nobody_answers_for_is_named_without_its_password(
    command: tuple[str, ...],
) -> None:
    err = refused(*command, dsn=f"postgresql://ada:hush@127.0.0.1:{free_port()}/app")
    assert "connection refused" in err.lower() and "PGDURABLE_DSN" in err
    assert "hush" not in err


def test_a_server_with_an_address_of_its_own_is_tried_there() -> None:
    err = refused("run", "tests.cli.apps.quick:elsewhere", "--port", "0")
    assert "connection refused" in err.lower() and "dsn= in the code" in err


def test_an_address_that_swallows_connections_is_given_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        env = {"PGCONNECT_TIMEOUT": "2"}
        assert "timeout" in refused("ls", dsn=f"postgresql://127.0.0.1:{port}/app", env=env)


@pytest.mark.parametrize("bad", ["nonsense", "host='x", "postgresql://ada:hush@h/db?nope=1"])
def test_what_is_no_connection_string_is_said_to_be_none(bad: str) -> None:
    for command in ASKING:
        err = refused(*command, "--dsn", bad)
        assert "postgresql://user:password@host:5432/database" in err
        assert "hush" not in err


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("postgresql://ada:hush@h/db?pgbouncer=true", 'invalid URI query parameter: "pgbouncer"'),
        ("postgresql://ada:hush@h/db?schema=app", 'invalid URI query parameter: "schema"'),
        ("postgresql+psycopg://ada:hush@h/db", '"postgresql+psycopg://ada:***@h/db"'),
        ("postgresql://ada:hush%zz@h/db", 'invalid percent-encoded token: "***"'),
    ],
)
def test_what_libpq_refuses_is_said_in_its_words_without_the_password(
    bad: str, sentence: str
) -> None:
    err = refused("ls", dsn=bad)
    assert sentence in err and "PGDURABLE_DSN is not a connection string" in err
    assert "hush" not in err


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize("name", ["PGDURABLE_DSN", "DATABASE_URL"])
def test_an_empty_address_is_a_mistake_and_starts_nothing(
    command: tuple[str, ...], name: str, home: Path
) -> None:
    err = refused(*command, env={name: "", "PGDURABLE_HOME": str(home)})
    assert f"{name} is empty" in err
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("option", "env"), [(("--no-embedded",), {}), ((), {"PGDURABLE_EMBEDDED": "0"})]
)
@pytest.mark.parametrize("command", [("ls",), ("run", QUICK)])
def test_the_embedded_server_can_be_forbidden(
    command: tuple[str, ...], option: tuple[str, ...], env: dict[str, str], home: Path
) -> None:
    err = refused(*command, *option, env={**env, "PGDURABLE_HOME": str(home)})
    assert "the embedded one is forbidden" in err and "PGDURABLE_DSN" in err
    assert not list(home.iterdir())


@pytest.mark.parametrize("command", ASKING)
def test_an_unknown_role_or_database_is_named(command: tuple[str, ...], dsn: str) -> None:
    assert 'role "nobody_at_all"' in refused(*command, dsn=make_conninfo(dsn, user="nobody_at_all"))
    assert "no_such_database" in refused(
        *command, dsn=make_conninfo(dsn, dbname="no_such_database")
    )


def test_a_wrong_password_is_not_shown(home: Path) -> None:
    with EmbeddedPostgres(home, port=free_port()) as postgres:
        dsn = f"postgresql://postgres:hush@127.0.0.1:{postgres.port}/pgdurable"
        for command in ASKING:
            err = refused(*command, dsn=dsn)
            assert "password authentication failed" in err and "hush" not in err


@pytest.mark.parametrize(
    "command",
    [
        ("ls",),
        ("show", "resp_" + "0" * 32),
        ("tail", "resp_" + "0" * 32),
        ("prune", "--older-than", "1d"),
        ("run", QUICK, "--port", "0"),
        ("run", QUICK, "--no-server"),
        ("run", QUICK, "--no-server", "--processes", "2"),
    ],
)
def test_a_missing_schema_names_the_command_that_makes_it(
    command: tuple[str, ...], empty_dsn: str
) -> None:
    err = refused(*command, dsn=empty_dsn)
    assert "no pgdurable schema yet. Run: pgdurable migrate --dsn" in err


@pytest.mark.parametrize("command", [("migrate",), ("run", QUICK, "--port", "0"), ("ls",)])
def test_a_database_that_is_not_utf8_names_the_statement_that_makes_one(
    command: tuple[str, ...], admin: Connection, admin_dsn: str
) -> None:
    latin = f"latin_{os.getpid()}"
    admin.execute(f"create database {latin} encoding 'LATIN1' template template0")
    try:
        err = refused(*command, dsn=make_conninfo(admin_dsn, dbname=latin))
    finally:
        admin.execute(f"drop database {latin} with (force)")
    assert f"the database {latin} is LATIN1" in err
    assert "create database NAME encoding 'UTF8'" in err and "template template0" in err


def test_the_command_is_typed_as_it_is_shown_and_shows_no_password(empty_dsn: str) -> None:
    with_password = make_conninfo(empty_dsn, password="hush")
    err = refused("ls", dsn=with_password)
    assert 'Run: pgdurable migrate --dsn "$PGDURABLE_DSN"' in err and "hush" not in err


def test_a_schema_that_does_not_fit_is_refused_by_run(dsn: str, db: Connection) -> None:
    db.execute("update pgdurable.schema_files set checksum = 'x', release = '0.0.1'")
    assert "Run: pgdurable migrate" in refused("run", QUICK, "--port", "0", dsn=dsn)


def test_a_role_without_privileges_is_told_so(dsn: str, db: Connection) -> None:
    db.execute("create role weak_cli login")
    try:
        weak = make_conninfo(dsn, user="weak_cli")
        some = "resp_" + "0" * 32
        for command, role in (
            (("ls",), "pgdurable_reader"),
            (("show", some), "pgdurable_runtime"),
            (("tail", some), "pgdurable_runtime"),
            (("run", QUICK, "--port", "0"), "pgdurable_runtime"),
            (("run", QUICK, "--no-server"), "pgdurable_runtime"),
        ):
            err = refused(*command, dsn=weak)
            assert f'role "weak_cli" has no role of pgdurable and needs {role} here.' in err
            assert f'grant {role} to "weak_cli";' in err
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("drop role weak_cli")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken_is_said_to_be(processes: str, dsn: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = str(listener.getsockname()[1])
        err = refused("run", QUICK, "--port", port, "--processes", processes, dsn=dsn)
    assert f"127.0.0.1 port {port}: another process has it" in err and "--port 0" in err


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "::ffff"])
def test_an_address_that_is_not_ours_is_said_not_to_be(host: str, dsn: str) -> None:
    err = refused("run", QUICK, "--host", host, "--port", "0", dsn=dsn)
    assert f"cannot listen on {host} port 0" in err and "--host" in err


@pytest.mark.parametrize(
    "options",
    [
        ("--no-worker", "--no-server"),
        ("--port", "65536"),
        ("--port", "http"),
        ("--concurrency", "0"),
        ("--processes", "0"),
        ("--log-level", "loud"),
        ("--nope",),
    ],
)
def test_options_that_make_no_sense_are_refused(options: tuple[str, ...], dsn: str) -> None:
    assert "Error: " in refused("run", QUICK, *options, dsn=dsn, status=2)


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    err = refused("ls", env={"PGDURABLE_HOME": str(occupied)})
    assert str(occupied) in err and "PGDURABLE_HOME" in err
