"""Which database a command works on, and what its refusals mean to a person."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdurable.config import Dsn, require_embedded_allowed
from pgdurable.database import connections, schema
from pgdurable.database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from pgdurable.database.queries import Conn
from pgdurable.errors import DatabaseUnavailable, PgdurableError
from pgdurable.logs import LogEvent, log, redact_dsn

logger = logging.getLogger("pgdurable.cli")

T = TypeVar("T")
Command = Callable[..., Any]

_dsn = click.option(
    "--dsn",
    metavar="DSN",
    help="Where Postgres is. Default: PGDURABLE_DSN, then DATABASE_URL, then an embedded Postgres.",
)
_no_embedded = click.option(
    "--no-embedded",
    is_flag=True,
    expose_value=False,
    callback=lambda _, __, given: os.environ.update({"PGDURABLE_EMBEDDED": "0"} if given else {}),
    help="Refuse to start an embedded Postgres, as PGDURABLE_EMBEDDED=0 does.",
)


def dsn_option(command: Command) -> Command:
    """--dsn, and --no-embedded, which processes started from here inherit."""
    return _dsn(_no_embedded(command))


@contextlib.contextmanager
def opened_database(
    dsn: str | None,
    listen_dsn: str | None = None,
    *,
    source: str = "--dsn",
    migrate: bool = True,
    role: str = schema.RUNTIME,
) -> Iterator[Dsn]:
    """The database to work on: the one that is named somewhere, else our own, which is started.

    `source` says where `dsn` is from, `role` which of our roles the command needs. Our own is
    migrated, unless `migrate` is false. Whatever the
    database refuses inside the block becomes one message with what to do about it.
    """
    found = Dsn.find(dsn, listen_dsn)
    if found is not None:
        if dsn:
            found = replace(found, source=source)
        check_form(found)
        with explained(found, role):
            yield found
        return
    require_embedded_allowed()
    with explained(None), _embedded() as own:
        if migrate:
            schema.migrate(own.dsn)
        with explained(own):
            yield own


@contextlib.contextmanager
def _embedded() -> Iterator[Dsn]:
    with EmbeddedPostgres() as server:
        click.echo(
            "EMBEDDED, not for production. No --dsn, PGDURABLE_DSN or DATABASE_URL: using the "
            f"embedded Postgres in {server.home}",
            err=True,
        )
        log(logger, logging.WARNING, LogEvent.EMBEDDED_STARTED, home=server.home)
        yield Dsn(server.dsn(), server.dsn(), "embedded")
    log(logger, logging.INFO, LogEvent.EMBEDDED_STOPPED, home=server.home)


def check_form(dsn: Dsn) -> None:
    """Refuse what is no connection string, before anybody waits for it."""
    for value in (dsn.dsn, dsn.listen_dsn):
        try:
            conninfo_to_dict(value)
        except psycopg.ProgrammingError as exc:
            raise click.ClickException(
                f"{dsn.source} is not a connection string: {redact_dsn(value)}\n"
                f"libpq says: {_without_secrets(_one_line(exc), value)}\n"
                "It looks like postgresql://user:password@host:5432/database"
            ) from exc


def _without_secrets(sentence: str, dsn: str) -> str:
    """A sentence that quotes parts of `dsn`, of which only what may be shown stays."""
    shown = redact_dsn(dsn)

    def keep(quoted: re.Match[str]) -> str:
        part = redact_dsn(quoted[1])
        return f'"{part}"' if part == "=" or part in shown else '"***"'

    return re.sub(r'"(.*?)"', keep, sentence)


@contextlib.contextmanager
def explained(dsn: Dsn | None, role: str = schema.RUNTIME) -> Iterator[None]:
    """Turn what pgdurable and Postgres refuse into one message and exit code 1."""
    try:
        yield
    except EmbeddedPostgresError as exc:
        raise click.ClickException(str(exc)) from exc
    except DatabaseUnavailable as exc:
        raise click.ClickException(_unavailable(exc, dsn)) from exc
    except PgdurableError as exc:
        raise click.ClickException(str(exc)) from exc
    except psycopg.ProgrammingError as exc:
        raise click.ClickException(_refused(exc, dsn, role)) from exc
    except psycopg.OperationalError as exc:
        raise click.ClickException(f"Postgres broke off: {_one_line(exc)}") from exc


def _unavailable(exc: DatabaseUnavailable, dsn: Dsn | None) -> str:
    hint = ""
    if dsn is not None:
        hint = (
            f"\nIs Postgres running there, and are user, password and database right? "
            f"(The address is from {dsn.source}; without one, pgdurable runs its own Postgres.)"
        )
    return _one_line(exc) + hint


def _refused(exc: psycopg.ProgrammingError, dsn: Dsn | None, role: str) -> str:
    """A missing table or function means a missing or older schema, a privilege a role: the checks
    word it best."""
    if dsn is not None:
        try:
            if isinstance(exc, psycopg.errors.InsufficientPrivilege):
                schema.require_role(dsn.dsn, role)
            else:
                schema.check(dsn.dsn)
        except PgdurableError as mismatch:
            return str(mismatch)
    return f"Postgres refused: {_one_line(exc)}"


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())


def with_connection(dsn: Dsn, work: Callable[[Conn], Awaitable[T]]) -> T:
    """Run `work` on a connection of its own and return what it returns."""

    async def connected() -> T:
        async with await connections.connect(dsn.dsn, name="pgdurable cli") as conn:
            return await work(conn)

    return asyncio.run(connected())
