"""Runs a plan against a database, and says clearly why it could not."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, LockNotAvailable

from pgdurable.database import connections
from pgdurable.database.schema.files import SqlFiles
from pgdurable.database.schema.plan import Fit, Installed, Status, Step, compare, prepare, steps
from pgdurable.database.schema.privileges import RUNTIME, what_is_missing, what_role_is_missing
from pgdurable.errors import ConfigurationError, DatabaseUnavailable, PgdurableError, SchemaMismatch

DEFAULT_LOCK_TIMEOUT = timedelta(seconds=10)
Connection = psycopg.Connection[tuple[object, ...]]


class MigrationFailed(PgdurableError):
    """The schema was not changed, not even in part."""


class RoleMissing(ConfigurationError):
    """The database's user lacks a role of ours."""


def migrate(
    dsn: str,
    *,
    wanted: SqlFiles | None = None,
    lock_timeout: timedelta = DEFAULT_LOCK_TIMEOUT,
    progress: Callable[[str], None] | None = None,
    reapply: bool = False,
) -> Status:
    """Bring the database to this release and return what it was before.

    `lock_timeout` bounds each wait for a lock, ours included; `progress` hears the name of each
    step; `reapply` runs the repeatable files although none differs (a role was created, say, that
    the grants name). Raises SchemaMismatch where the database is newer, MigrationFailed where
    something refused, and DatabaseUnavailable.
    """
    wanted = wanted or SqlFiles.load()
    step = Step("waiting for another migration", prepare(lock_timeout))
    with closing(connect(dsn)) as conn:
        try:
            _run(conn, step)
            found = read_installed(conn)
            before = compare(found, wanted)
            if before.fit is Fit.NEWER:
                raise SchemaMismatch(explain(before, dsn))
            for step in steps(found, wanted, reapply=reapply):
                if progress:
                    progress(step.name)
                _run(conn, step)
            conn.commit()
        except psycopg.Error as exc:
            conn.rollback() if not conn.closed else None
            raise _failure(conn, exc, step, lock_timeout) from exc
    return before


def status(dsn: str, *, wanted: SqlFiles | None = None) -> Status:
    """What the database has and lacks; changes nothing."""
    return compare(installed(dsn), wanted or SqlFiles.load())


def installed(dsn: str) -> Installed | None:
    """The bookkeeping of a database, for `script`; None where it has no schema of ours."""
    with closing(connect(dsn)) as conn:
        try:
            return read_installed(conn)
        except InsufficientPrivilege as exc:
            conn.rollback()
            raise MigrationFailed(what_is_missing(conn, exc)) from exc


def check(dsn: str, *, wanted: SqlFiles | None = None) -> Status:
    """For the start of a server or a worker: SchemaMismatch unless the schema fits."""
    now = status(dsn, wanted=wanted)
    if now.fit not in (Fit.CURRENT, Fit.NEWER_FUNCTIONS):
        raise SchemaMismatch(explain(now, dsn))
    return now


def require_role(dsn: str, role: str = RUNTIME) -> None:
    """Raises RoleMissing unless the user of `dsn` may do what this role of ours may."""
    with closing(connect(dsn)) as conn:
        if lacking := what_role_is_missing(conn, role):
            raise RoleMissing(lacking)


def explain(found: Status, dsn: str) -> str:
    """What does not fit, and the command that mends it."""
    command = f"pgdurable migrate --dsn {_typed(dsn)}"
    match found.fit:
        case Fit.MISSING:
            return f"this database has no pgdurable schema yet. Run: {command}"
        case Fit.NEWER:
            return (
                f"this database's schema is newer than pgdurable {found.release}: it has "
                f"{', '.join(found.unknown)} (release {found.installed_release}). "
                "Upgrade pgdurable."
            )
        case Fit.OLDER:
            lacks = ", ".join([*found.pending, *found.changed_files])
            return (
                f"this database's schema is of pgdurable {found.installed_release} and does not "
                f"fit {found.release} (to apply: {lacks}). Run: {command}"
            )
        case Fit.CURRENT | Fit.NEWER_FUNCTIONS:
            return f"this database's schema fits pgdurable {found.release}"


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
        max((str(release) for _, _, release in files), default=""),
    )


def _run(conn: Connection, step: Step) -> None:
    conn.execute(step.sql.encode())  # no parameters: several statements, and % is only a percent


def _failure(
    conn: Connection, exc: psycopg.Error, step: Step, lock_timeout: timedelta
) -> PgdurableError:
    if conn.closed:
        return DatabaseUnavailable(f"{step.name}: the connection was lost: {str(exc).strip()}")
    if isinstance(exc, LockNotAvailable):
        return MigrationFailed(
            f"{step.name}: waited {lock_timeout.total_seconds():g} s for a lock that another "
            "session holds; nothing has changed. pg_locks and pg_stat_activity tell who; try "
            "again later, or with a longer lock timeout."
        )
    if isinstance(exc, InsufficientPrivilege):
        return MigrationFailed(f"{step.name}: {what_is_missing(conn, exc)}")
    where = ""
    if position := exc.diag.statement_position:
        where = f", line {step.sql[: int(position)].count(chr(10)) + 1}"
    said = exc.diag.message_primary or str(exc)
    return MigrationFailed(f"{step.name}{where}: {said}; nothing has changed")


def _typed(dsn: str) -> str:
    """The option's value for a shell; one with a password is in a variable, and is not shown."""
    return '"$PGDURABLE_DSN"' if "password" in conninfo_to_dict(dsn) else shlex.quote(dsn)
