"""`pgdurable show`: one response with its attempts and its last events."""

from __future__ import annotations

import click

from pgdurable.database import queries
from pgdurable.database.queries import AttemptRecord, Conn, ResponseOverview
from pgdurable.models import Event
from pgdurable_cli.database import dsn_option, opened_database, with_connection
from pgdurable_cli.parameters import response_id_argument
from pgdurable_cli.tables import echo_fitted, table, text
from pgdurable_cli.tail import line_of

HEAD = ("ATTEMPT", "REASON", "OUTCOME", "STARTED", "TOOK", "WORKER", "CONVERSATION")
Shown = tuple[ResponseOverview, list[AttemptRecord], list[Event]]


@click.command(
    short_help="Show one response, its attempts, its last events.",
    epilog="""\b
Examples:
  pgdurable show resp_0193...
  pgdurable show resp_0193... --events 50""",
)
@response_id_argument
@click.option(
    "--events",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="How many of its last events.",
)
@dsn_option
def show(response_id: str, events: int, dsn: str | None) -> None:
    """Show a response: where it stands, who ran it and how that ended, its last events."""

    async def ask(conn: Conn) -> Shown:
        response = await queries.response_overview(conn, response_id=response_id)
        history = await queries.attempts(conn, response_id=response_id)
        last: list[Event] = []
        if events:
            cursor = max(-1, response.events - 1 - events)
            last = await queries.read_events(conn, {response_id: cursor}, limit=events)
        return response, history, last

    with opened_database(dsn) as database:
        response, history, last = with_connection(database, ask)
    for name in response.__dataclass_fields__:
        click.echo(f"{name:<18}{text(getattr(response, name))}")
    if history:
        click.echo("\n" + table(HEAD, [_row(attempt) for attempt in history]))
    if last:
        click.echo(f"\nlast {len(last)} of {response.events} events")
    for event in last:
        echo_fitted(line_of(event))


def _row(attempt: AttemptRecord) -> tuple[object, ...]:
    took = None if attempt.ended_at is None else attempt.ended_at - attempt.started_at
    return (
        attempt.attempt,
        attempt.reason,
        attempt.outcome,
        attempt.started_at,
        took,
        attempt.worker_id,
        attempt.conversation_id,
    )
