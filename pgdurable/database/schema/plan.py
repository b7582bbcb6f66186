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

    `pending` are the migrations of the transaction that are missing, `to_build` those for after it,
    without which processes can work; `unknown` are migrations that this release does not have.
    """

    fit: Fit
    release: str
    installed_release: str | None
    applied: list[str]
    pending: list[str]
    to_build: list[str]
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
        return Status(Fit.MISSING, wanted.release, None, [], pending, [], [], names)
    missing = _pending(installed, wanted).values()
    pending = [file.name for file in missing if not file.concurrent]
    to_build = [file.name for file in missing if file.concurrent]
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
    return Status(fit, wanted.release, release, applied, pending, to_build, unknown, changed)


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
    """The transaction: nothing where the database is newer, or there unless `reapply`.

    A fresh database has what the concurrent migrations would build; in an older one they follow.
    """
    fit = compare(installed, wanted).fit
    if fit not in (Fit.MISSING, Fit.OLDER) and not (reapply and fit is Fit.CURRENT):
        return
    pending = _pending(installed, wanted)
    if installed is not None:
        pending = {n: file for n, file in pending.items() if not file.concurrent}
        yield from (Step(f"migrations/{file.name}", file.text) for file in pending.values())
    for file in wanted.engine:
        if installed is None or file.name != TABLES:
            yield Step(file.name, file.text)
    yield Step("bookkeeping", "\n".join([*_records(pending), *_checksums(wanted)]))


def builds(
    installed: Installed | None, wanted: SqlFiles, lock_timeout: timedelta
) -> Iterator[Step]:
    """What follows the transaction, a statement a step, while processes are at work.

    What is said to be concurrent cannot be in a transaction, and holds nobody up while it waits;
    all else is in a short one of its own.
    """
    if installed is None or compare(installed, wanted).fit is Fit.NEWER:
        return
    for number, file in _pending(installed, wanted).items():
        if not file.concurrent:
            continue
        for statement in file.statements:
            alone = " concurrently " in statement.lower()
            sql = statement if alone else _transaction(lock_timeout, statement)
            yield Step(f"migrations/{file.name}", sql)
        yield Step(f"migrations/{file.name} is done", "\n".join(_records({number: file})))


def script(
    installed: Installed | None = None,
    wanted: SqlFiles | None = None,
    *,
    lock_timeout: timedelta = timedelta(seconds=10),
) -> str:
    """The same as one psql script: for an empty database, or for what is `installed`."""
    wanted = wanted or SqlFiles.load()
    inside = [_titled(step) for step in steps(installed, wanted)]
    after = [_titled(step) for step in builds(installed, wanted, lock_timeout)]
    if not inside and not after:
        return f"-- nothing to do: the schema fits pgdurable {wanted.release}\n"
    head = f"-- pgdurable {wanted.release}: run with psql, as the role that is to own the schema\n"
    head += "\\set ON_ERROR_STOP on\n"
    if inside:
        lock = f"select pg_advisory_xact_lock({LOCK});"
        head += _transaction(lock_timeout, "\n".join([lock, *inside])) + "\n"
    if after:
        head += "-- The rest is outside the transaction; where it stops, run this rest again.\n"
    return head + "\n".join(after)


def prepare(lock_timeout: timedelta) -> str:
    """The first statements of a transaction: wait for a lock, but not for ever; take your time."""
    milliseconds = max(1, round(lock_timeout.total_seconds() * 1000))
    return (
        f"set local lock_timeout = {milliseconds};\n"
        "set local statement_timeout = 0;\n"
        "set local client_min_messages = warning;\n"
    )


def _transaction(lock_timeout: timedelta, sql: str) -> str:
    return f"begin;\n{prepare(lock_timeout)}{sql}\ncommit;"


def _titled(step: Step) -> str:
    return f"-- {step.name}\n{step.sql.strip()}\n"


def _pending(installed: Installed | None, wanted: SqlFiles) -> dict[int, SqlFile]:
    done = installed.migrations if installed else {}
    return {n: file for n, file in sorted(wanted.migrations.items()) if n not in done}


def _records(migrations: dict[int, SqlFile]) -> list[str]:
    return [
        "insert into pgdurable.schema_migrations (version, name, applied_at) "
        f"values ({number}, {_literal(file.name)}, pgdurable.now()) on conflict do nothing;"
        for number, file in migrations.items()
    ]


def _checksums(wanted: SqlFiles) -> list[str]:
    release = _literal(wanted.release)
    lines = [
        "insert into pgdurable.schema_files (name, checksum, release, applied_at) values "
        f"({_literal(name)}, {_literal(checksum)}, {release}, pgdurable.now());"
        for name, checksum in wanted.checksums.items()
    ]
    return ["delete from pgdurable.schema_files;", *lines]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
