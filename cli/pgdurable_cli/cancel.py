"""`pgdurable cancel`: stop a response."""

from __future__ import annotations

from datetime import timedelta

import click

from pgdurable.database import queries
from pgdurable.database.queries import Conn
from pgdurable.models import Status
from pgdurable_cli.database import dsn_option, opened_database, with_connection
from pgdurable_cli.parameters import response_id_argument


@click.command(
    short_help="Cancel a response.",
    epilog="""\b
Example:
  pgdurable cancel resp_0193...""",
)
@response_id_argument
@dsn_option
def cancel(response_id: str, dsn: str | None) -> None:
    """Cancel a response: at once if it is queued, through its worker if it is in progress.

    What has been streamed so far stays in its log.
    """

    async def ask(conn: Conn) -> tuple[Status, bool]:
        found = await queries.response_overview(conn, response_id=response_id)
        status = await queries.cancel_response(
            conn, response_id=response_id, principal=found.principal
        )
        return status, found.lease_left is not None and found.lease_left < timedelta(0)

    with opened_database(dsn) as database:
        status, silent = with_connection(database, ask)
    if status is Status.CANCELLED:
        click.echo(f"{response_id} is cancelled.")
    elif silent:
        click.echo(
            f"{response_id} is {status}, and its lease has expired: "
            "the next worker that runs for this queue ends it."
        )
    else:
        click.echo(f"{response_id} is {status}; its worker has been asked to stop.")
