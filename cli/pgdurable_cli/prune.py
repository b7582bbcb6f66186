"""`pgdurable prune`: retention."""

from __future__ import annotations

from datetime import timedelta

import click
import psycopg

from pgdurable.database import queries
from pgdurable.database.queries import Conn
from pgdurable_cli.database import dsn_option, opened_database, with_connection
from pgdurable_cli.parameters import duration

BATCH = 1000
TOO_SHORT = (
    "statement_timeout is too short to delete even one response ({} are deleted). "
    "Without it: PGOPTIONS='-c statement_timeout=0' pgdurable prune ..."
)


@click.command(
    short_help="Delete old finished responses.",
    epilog="""\b
Examples:
  pgdurable prune --older-than 30d
  0 3 * * *  pgdurable prune --older-than 30d       (in a crontab)""",
)
@click.option(
    "--older-than",
    callback=duration,
    required=True,
    metavar="DURATION",
    help="Delete what finished longer ago than this: 12h, 30d, 2w.",
)
@dsn_option
def prune(older_than: timedelta, dsn: str | None) -> None:
    """Delete finished responses with their events.

    In batches of 1,000, each a transaction of its own, or smaller ones where statement_timeout
    allows no more; never waits for a lock, never touches what
    is queued or in progress. Leftovers of `store: false` go after an hour, whatever the age given.
    """

    async def ask(conn: Conn) -> int:
        total, batch = 0, BATCH
        while True:
            try:
                count = await queries.prune_responses(conn, older_than=older_than, limit=batch)
            except psycopg.errors.QueryCanceled as exc:
                if batch == 1:
                    raise click.ClickException(TOO_SHORT.format(total)) from exc
                batch //= 2
                continue
            if not count:
                return total
            total += count

    with opened_database(dsn) as database:
        count = with_connection(database, ask)
    click.echo(f"Deleted {count} response{'' if count == 1 else 's'}.")
