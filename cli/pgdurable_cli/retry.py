"""`pgdurable retry`: the same request once more."""

from __future__ import annotations

import click

from pgdurable.database import queries
from pgdurable.database.queries import Conn
from pgdurable_cli.database import dsn_option, opened_database, with_connection
from pgdurable_cli.parameters import response_id_argument


@click.command(
    short_help="Send a finished response's request again.",
    epilog="""\b
Examples:
  pgdurable retry resp_0193...
  pgdurable tail -f $(pgdurable retry resp_0193...)""",
)
@response_id_argument
@dsn_option
def retry(response_id: str, dsn: str | None) -> None:
    """Send the request of a finished response again and print the new response's id.

    The finished response stays as it is.
    """

    async def ask(conn: Conn) -> str:
        found = await queries.response_overview(conn, response_id=response_id)
        return await queries.retry_response(
            conn, response_id=response_id, principal=found.principal
        )

    with opened_database(dsn) as database:
        click.echo(with_connection(database, ask))
