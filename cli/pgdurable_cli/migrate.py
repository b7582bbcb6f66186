"""`pgdurable migrate`: bring the database to this release."""

from __future__ import annotations

from datetime import timedelta

import click

from pgdurable.config import Dsn
from pgdurable.database import schema
from pgdurable.database.schema import Fit, Status
from pgdurable_cli.database import check_form, dsn_option, explained, opened_database
from pgdurable_cli.parameters import duration


@click.command(
    short_help="Create or upgrade the schema.",
    epilog="""\b
Examples:
  pgdurable migrate --dsn postgresql://localhost/app
  pgdurable migrate --status                  is there anything to do? (exit code 1 if so)
  pgdurable migrate --print > upgrade.sql     for a DBA, who runs it with psql
  pgdurable migrate --reapply                 after creating a role that the grants name""",
)
@click.option("--status", is_flag=True, help="Say what there is and what is missing.")
@click.option("--print", "print_", is_flag=True, help="Write the SQL to stdout instead.")
@click.option("--reapply", is_flag=True, help="Apply functions, views and grants anew.")
@click.option(
    "--lock-timeout",
    callback=duration,
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for each lock, in turns of a second.",
)
@dsn_option
def migrate(
    status: bool, print_: bool, reapply: bool, lock_timeout: timedelta, dsn: str | None
) -> None:
    """Create or upgrade the schema pgdurable.

    Tables and functions change in one transaction; indexes are built after it, while processes
    work on. Safe to run again, and many at once.
    """
    if sum((status, print_, reapply)) > 1:
        raise click.UsageError("--status, --print and --reapply exclude each other.")
    if print_:
        click.echo(_script(dsn, lock_timeout), nl=False)
        return
    with opened_database(dsn, migrate=False) as database:
        if status:
            _tell(schema.status(database.dsn))
        else:
            _migrate(database.dsn, lock_timeout, reapply=reapply)


def _script(dsn: str | None, lock_timeout: timedelta) -> str:
    """For the database that is named, as it is now; for an empty one where none is."""
    found = Dsn.find(dsn)
    if found is None:
        return schema.script(lock_timeout=lock_timeout)
    check_form(found)
    with explained(found):
        return schema.script(schema.installed(found.dsn), lock_timeout=lock_timeout)


def _migrate(dsn: str, lock_timeout: timedelta, *, reapply: bool) -> None:
    def progress(name: str) -> None:
        click.echo(f"  {name}")

    before = schema.migrate(dsn, lock_timeout=lock_timeout, progress=progress, reapply=reapply)
    match before.fit:
        case Fit.MISSING:
            click.echo(f"The schema pgdurable is there: release {before.release}.")
        case Fit.OLDER:
            click.echo(_upgraded(before))
        case Fit.NEWER_FUNCTIONS:
            click.echo(
                f"Nothing to do: the functions are of {before.installed_release}, which is newer "
                f"than {before.release} and serves it."
            )
        case _:
            done = "Built what was missing" if before.to_build else "Nothing to do"
            done = "Applied again" if reapply else done
            click.echo(f"{done}: the schema fits release {before.release}.")


def _upgraded(before: Status) -> str:
    if before.installed_release == before.release:
        return f"Upgraded: the schema was of another build of {before.release}."
    return f"Upgraded from {before.installed_release} to {before.release}."


def _tell(found: Status) -> None:
    click.echo(f"this release    {found.release}")
    click.echo(f"the database    {found.installed_release or 'no schema yet'} ({found.fit})")
    for title, names in (
        ("migrations done", found.applied),
        ("to migrate", found.pending),
        ("to build", found.to_build),
        ("unknown here", found.unknown),
        ("files to apply", found.changed_files if found.fit is not Fit.NEWER_FUNCTIONS else []),
    ):
        if names:
            click.echo(f"{title:<16}{', '.join(names)}")
    if found.to_build or found.fit not in (Fit.CURRENT, Fit.NEWER_FUNCTIONS):
        raise click.exceptions.Exit(1)
