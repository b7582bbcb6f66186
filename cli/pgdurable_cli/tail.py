"""`pgdurable tail`: the events of a response, and with -f those to come."""

from __future__ import annotations

import asyncio
import contextlib

import click

from pgdurable.config import Dsn
from pgdurable.database import connections, queries
from pgdurable.database.queries import Conn
from pgdurable.envelope.kinds import TERMINAL
from pgdurable.events.listener import Listener
from pgdurable.models import Event
from pgdurable_cli.database import dsn_option, opened_database
from pgdurable_cli.parameters import response_id_argument
from pgdurable_cli.tables import echo_fitted, printable

READ_LIMIT = 1000
# NOTIFY is a hint: one may be lost, and a transaction pooler delivers none.
BACKSTOP_SECONDS = 5.0


@click.command(
    short_help="Print the events of a response, and follow it.",
    epilog="""\b
Examples:
  pgdurable tail resp_0193...
  pgdurable tail -f resp_0193...
  pgdurable tail -f --after 41 resp_0193... | cut -f 4 | jq .delta

Each line is seq, attempt, type and the event's JSON, separated by tabs. On a terminal it is cut to
fit.""",
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the response has finished.")
@click.option(
    "--after",
    type=click.IntRange(-1),
    default=-1,
    metavar="SEQ",
    help="Only events after this one.",
)
@response_id_argument
@dsn_option
def tail(response_id: str, follow: bool, after: int, dsn: str | None) -> None:
    """Print the events of a response; with -f, follow it to its end."""
    with opened_database(dsn) as database:
        asyncio.run(_tail(database, response_id, after, follow=follow))


def line_of(event: Event) -> str:
    """seq, attempt, type, body: separated by tabs, in one line."""
    body = event.body.decode(errors="replace")
    return f"{event.seq}\t{event.attempt}\t{printable(event.type)}\t{printable(body)}"


async def _tail(dsn: Dsn, response_id: str, cursor: int, *, follow: bool) -> None:
    async with await connections.connect(dsn.dsn, name="pgdurable cli") as conn:
        await queries.response_overview(conn, response_id=response_id)  # or ResponseNotFound
        if follow:
            await _follow(conn, dsn, response_id, cursor)
        else:
            await _print_stored(conn, response_id, cursor)


async def _follow(conn: Conn, dsn: Dsn, response_id: str, cursor: int) -> None:
    """Listen, then read, then wait: nothing can fall in between."""
    news = asyncio.Event()

    def on_tail(ids: list[str] | None) -> None:
        if ids is None or response_id in ids:
            news.set()

    async def notify(channel: str) -> None:
        await queries.notify(conn, channel=channel)

    listener = Listener(dsn.listen_dsn, on_tail=on_tail, on_work=lambda ids: None, notify=notify)
    listening = asyncio.create_task(listener.run())
    try:
        while True:
            news.clear()
            cursor, finished = await _print_stored(conn, response_id, cursor)
            if finished or await _is_over(conn, response_id, cursor):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACKSTOP_SECONDS):
                    await news.wait()
    finally:
        await connections.cancel_and_wait(listening)


async def _print_stored(conn: Conn, response_id: str, cursor: int) -> tuple[int, bool]:
    """Print what there is after the cursor; the new cursor, and whether that was the end."""
    finished = False
    while events := await queries.read_events(conn, {response_id: cursor}, limit=READ_LIMIT):
        for event in events:
            echo_fitted(line_of(event))
        cursor = events[-1].seq
        finished = events[-1].type in TERMINAL
    return cursor, finished


async def _is_over(conn: Conn, response_id: str, cursor: int) -> bool:
    """Is there nothing to come, because the cursor is at or beyond the end? Fails if deleted."""
    response = await queries.response_overview(conn, response_id=response_id)
    return response.status.is_terminal and cursor >= response.events - 1
