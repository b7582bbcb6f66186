"""`pgdurable ls`: the newest responses."""

from __future__ import annotations

import click

from pgdurable.database import queries, schema
from pgdurable.database.queries import Conn, ResponseOverview
from pgdurable.models import Status
from pgdurable_cli.database import dsn_option, opened_database, with_connection
from pgdurable_cli.tables import table

HEAD = ("ID", "STATUS", "ATTEMPT", "EVENTS", "QUEUE", "AGENT", "AGE", "LEASE LEFT", "WORKER")


@click.command(
    epilog="""\b
Examples:
  pgdurable ls
  pgdurable ls --status failed --limit 100
  pgdurable ls --queue slow

LEASE LEFT is negative where a lease has expired and no worker has taken over yet."""
)
@click.option(
    "--status", type=click.Choice([str(s) for s in Status]), help="Only those with this status."
)
@click.option("--queue", help="Only those of this queue.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many."
)
@dsn_option
def ls(status: str | None, queue: str | None, limit: int, dsn: str | None) -> None:
    """List responses, newest first."""

    async def ask(conn: Conn) -> list[ResponseOverview]:
        wanted = None if status is None else Status(status)
        return await queries.response_overviews(conn, status=wanted, queue=queue, limit=limit)

    with opened_database(dsn, role=schema.READER) as database:
        rows = with_connection(database, ask)
    if not rows:
        click.echo("No responses.", err=True)
        return
    click.echo(table(HEAD, [_row(response) for response in rows]))


def _row(response: ResponseOverview) -> tuple[object, ...]:
    status = str(response.status)
    if response.cancel_requested and not response.status.is_terminal:
        status += " (cancelling)"
    return (
        response.response_id,
        status,
        response.attempt,
        response.events,
        response.queue,
        response.agent,
        response.age,
        response.lease_left,
        response.worker_id,
    )
