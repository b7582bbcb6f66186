"""A migration's own sessions: opened, asked what is there, and explained when they fail."""

from __future__ import annotations

import shlex
from datetime import timedelta

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, QueryCanceled

from pgdurable.database import connections
from pgdurable.database.schema.plan import Installed, Step, release_order
from pgdurable.database.schema.privileges import what_is_missing
from pgdurable.errors import DatabaseUnavailable, PgdurableError

Connection = psycopg.Connection[tuple[object, ...]]
UNCHANGED = "nothing has changed"


class MigrationFailed(PgdurableError):
    """The schema is not what this release needs, or an index is missing; the message says which."""


def connect(dsn: str) -> Connection:
    """A connection that works behind a transaction pooler; otherwise DatabaseUnavailable."""
    try:
        conn = psycopg.connect(dsn, **connections.settings(dsn, name="pgdurable migrate"))
    except psycopg.Error as exc:
        raise DatabaseUnavailable(f"cannot connect to Postgres: {str(exc).strip()}") from exc
    try:
        connections.require_utf8(conn)
    except PgdurableError:
        conn.close()
        raise
    return conn


def read_installed(conn: Connection) -> Installed | None:
    """The bookkeeping, None where there is none."""
    if conn.execute("select to_regclass('pgdurable.schema_files')").fetchone() == (None,):
        return None
    migrations = conn.execute("select version, name from pgdurable.schema_migrations").fetchall()
    files = conn.execute("select name, checksum, release from pgdurable.schema_files").fetchall()
    return Installed(
        {int(str(version)): str(name) for version, name in migrations},
        {str(name): str(checksum) for name, checksum, _ in files},
        max((str(release) for _, _, release in files), default="", key=release_order),
    )


def run(conn: Connection, step: Step) -> None:
    conn.execute(step.sql.encode())  # no parameters: several statements, and % is only a percent


def failure(
    conn: Connection,
    exc: psycopg.Error,
    step: Step,
    lock_timeout: timedelta,
    *,
    state: str = UNCHANGED,
) -> PgdurableError:
    """What went wrong, in which line of which step, what state that leaves, and what helps."""
    if conn.closed:
        return DatabaseUnavailable(f"{step.name}: the connection was lost: {str(exc).strip()}")
    if isinstance(exc, LockNotAvailable):
        return MigrationFailed(f"{step.name}: {waited(lock_timeout, state)}")
    if isinstance(exc, InsufficientPrivilege):
        return MigrationFailed(f"{step.name}: {what_is_missing(conn, exc)}")
    where = ""
    if position := exc.diag.statement_position:
        where = f", line {step.sql[: int(position)].count(chr(10)) + 1}"
    said = exc.diag.message_primary or str(exc)
    if isinstance(exc, QueryCanceled):
        said += " (PGOPTIONS='-c statement_timeout=0' sets it for one command)"
    return MigrationFailed(f"{step.name}{where}: {said}; {state}")


def waited(lock_timeout: timedelta, state: str = UNCHANGED) -> str:
    """For a lock, in vain."""
    return (
        f"waited {lock_timeout.total_seconds():g} s for a lock that another session holds; "
        f"{state}. pg_locks and pg_stat_activity tell who; try again later, or with a longer "
        "lock timeout."
    )


def command(dsn: str) -> str:
    """What to type; a connection string with a password is in a variable, and is not shown."""
    typed = '"$PGDURABLE_DSN"' if "password" in conninfo_to_dict(dsn) else shlex.quote(dsn)
    return f"pgdurable migrate --dsn {typed}"
