"""Pure: what a database has and what a release wants -> a verdict, and the SQL that mends it.

`migrate` runs the steps of a plan and `script` prints them, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from pgdurable.database.schema.files import TABLES, SqlFile, SqlFiles

# Any number will do, as long as nobody else's advisory lock has it: "pgdurabl" in ASCII.
LOCK = int.from_bytes(b"pgdurabl", "big")


class Fit(StrEnum):
    """How a database's schema relates to this release."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    NEWER_FUNCTIONS = "newer functions"  # the same tables: works, see rolling deploys
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Installed:
    """What a database's bookkeeping says: migrations by number, checksums by file name."""

    migrations: dict[int, str]
    checksums: dict[str, str]
    release: str


@dataclass(frozen=True, slots=True)
class Status:
    """What `pgdurable migrate --status` tells.

    `unknown` are migrations in the database that this release does not have.
    """

    fit: Fit
    release: str
    installed_release: str | None
    applied: list[str]
    pending: list[str]
    unknown: list[str]
    changed_files: list[str]


class Step(NamedTuple):
    """A piece of SQL and what to call it when it runs or fails."""

    name: str
    sql: str


def compare(installed: Installed | None, wanted: SqlFiles) -> Status:
    """The verdict."""
    if installed is None:
        pending = [file.name for file in wanted.migrations.values()]
        names = [file.name for file in wanted.engine]
        return Status(Fit.MISSING, wanted.release, None, [], pending, [], names)
    pending = [f.name for n, f in wanted.migrations.items() if n not in installed.migrations]
    unknown = [name for n, name in installed.migrations.items() if n not in wanted.migrations]
    changed = sorted(
        name
        for name in wanted.checksums.keys() | installed.checksums.keys()
        if wanted.checksums.get(name) != installed.checksums.get(name)
    )
    if unknown:
        fit = Fit.NEWER
    elif pending:
        fit = Fit.OLDER
    elif not changed:
        fit = Fit.CURRENT
    elif release_order(installed.release) > release_order(wanted.release):
        fit = Fit.NEWER_FUNCTIONS
    else:
        fit = Fit.OLDER
    applied = [name for _, name in sorted(installed.migrations.items())]
    release = installed.release
    return Status(fit, wanted.release, release, applied, pending, unknown, changed)


def release_order(release: str) -> tuple[tuple[int, ...], bool, tuple[int, ...]]:
    """1.9 < 1.10rc1 < 1.10; enough of PEP 440 for our own release numbers."""
    numbers = re.match(r"[\d.]*\d|", release)
    head = numbers[0] if numbers else ""
    tail = release[len(head) :].split("+")[0]
    parts = tuple(int(part) for part in head.split(".") if part)
    return parts, not tail, tuple(int(part) for part in re.findall(r"\d+", tail))


def steps(
    installed: Installed | None, wanted: SqlFiles, *, reapply: bool = False
) -> Iterator[Step]:
    """What brings the database there; nothing where it is newer, or there unless `reapply`."""
    fit = compare(installed, wanted).fit
    if fit not in (Fit.MISSING, Fit.OLDER) and not (reapply and fit is Fit.CURRENT):
        return
    done = installed.migrations if installed else {}
    pending = {n: file for n, file in sorted(wanted.migrations.items()) if n not in done}
    if installed is not None:
        yield from (Step(f"migrations/{file.name}", file.text) for file in pending.values())
    for file in wanted.engine:
        if installed is None or file.name != TABLES:
            yield Step(file.name, file.text)
    yield Step("bookkeeping", _bookkeeping(pending, wanted))


def script(
    installed: Installed | None = None,
    wanted: SqlFiles | None = None,
    *,
    lock_timeout: timedelta = timedelta(seconds=10),
) -> str:
    """The same as one psql script: for an empty database, or for what is `installed`."""
    wanted = wanted or SqlFiles.load()
    parts = [f"-- {step.name}\n{step.sql.strip()}\n" for step in steps(installed, wanted)]
    if not parts:
        return f"-- nothing to do: the schema fits pgdurable {wanted.release}\n"
    head = f"-- pgdurable {wanted.release}: run with psql, as the role that is to own the schema\n"
    body = "\n".join([prepare(lock_timeout), *parts])
    return f"{head}\\set ON_ERROR_STOP on\nbegin;\n{body}\ncommit;\n"


def prepare(lock_timeout: timedelta) -> str:
    """The first statements of the transaction: wait for a lock, but not for ever."""
    milliseconds = max(1, round(lock_timeout.total_seconds() * 1000))
    return (
        f"set local lock_timeout = {milliseconds};\n"
        "set local client_min_messages = warning;\n"
        f"select pg_advisory_xact_lock({LOCK});\n"
    )


def _bookkeeping(pending: dict[int, SqlFile], wanted: SqlFiles) -> str:
    lines = [
        "insert into pgdurable.schema_migrations (version, name, applied_at) "
        f"values ({number}, {_literal(file.name)}, pgdurable.now());"
        for number, file in pending.items()
    ]
    lines.append("delete from pgdurable.schema_files;")
    lines.extend(
        "insert into pgdurable.schema_files (name, checksum, release, applied_at) values "
        f"({_literal(name)}, {_literal(checksum)}, {_literal(wanted.release)}, pgdurable.now());"
        for name, checksum in wanted.checksums.items()
    )
    return "\n".join(lines)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
