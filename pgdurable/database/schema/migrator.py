"""Runs a plan against a database, and says clearly why it could not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import psycopg
from psycopg.errors import InsufficientPrivilege

from pgdurable.database.schema.building import build
from pgdurable.database.schema.files import SqlFiles
from pgdurable.database.schema.locks import Patience, take_lock
from pgdurable.database.schema.plan import Fit, Installed, Status, Step, compare, prepare, steps
from pgdurable.database.schema.privileges import RUNTIME, what_is_missing, what_role_is_missing
from pgdurable.database.schema.session import (
    Connection,
    MigrationFailed,
    command,
    connect,
    failure,
    read_installed,
    run,
    waited,
)
from pgdurable.errors import ConfigurationError, SchemaMismatch

DEFAULT_LOCK_TIMEOUT = timedelta(seconds=10)


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
    patience = Patience(lock_timeout, progress or (lambda name: None))
    with closing(connect(dsn)) as conn:
        before = patience.spend(lambda: _transact(conn, dsn, wanted, patience, reapply=reapply))
    if before.to_build:
        build(dsn, wanted, patience)
    return before


def _transact(
    conn: Connection, dsn: str, wanted: SqlFiles, patience: Patience, *, reapply: bool
) -> Status:
    step = Step("waiting for another migration", prepare(patience.turn))
    try:
        found = read_installed(conn)
        if next(steps(found, wanted, reapply=reapply), None):  # else nobody is waited for
            conn.rollback()
            if not take_lock(conn, patience):
                raise MigrationFailed(f"{step.name}: {waited(patience.limit)}")
            run(conn, step)
            found = read_installed(conn)
        before = compare(found, wanted)
        if before.fit is Fit.NEWER:
            raise SchemaMismatch(explain(before, dsn))
        for step in steps(found, wanted, reapply=reapply):
            patience.tell(step.name)
            run(conn, step)
        conn.commit()
    except psycopg.Error as exc:
        conn.rollback() if not conn.closed else None
        raise failure(conn, exc, step, patience.limit) from exc
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
    """What does not fit, in which release and which files, and what mends it."""
    mends = f"Run: {command(dsn)}"
    match found.fit:
        case Fit.MISSING:
            return f"this database has no pgdurable schema yet. {mends}"
        case Fit.NEWER:
            return (
                f"this database's schema is newer, of pgdurable {found.installed_release}: this "
                f"pgdurable {found.release} does not know {some(found.unknown)}. "
                "Upgrade pgdurable here to the release that migrated it."
            )
        case Fit.OLDER:
            made = f"this database's schema is of pgdurable {found.installed_release}"
            here = found.release
            if found.installed_release == here:
                made = "this database's schema is of another build"
            return f"{made} and does not fit pgdurable {here}: it {differences(found)}. {mends}"
        case Fit.CURRENT | Fit.NEWER_FUNCTIONS:
            return f"this database's schema fits pgdurable {found.release}"


def differences(found: Status) -> str:
    """What an older schema lacks, and which of its files are not of this release."""
    lacks = [f"lacks {some(found.pending)}"] if found.pending else []
    other = [f"has another {some(found.changed_files)}"] if found.changed_files else []
    return ", and ".join(lacks + other)


def some(names: list[str]) -> str:
    """Not all of thirty files."""
    first, rest = names[:3], len(names) - 3
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")
