"""What the demo shows, step by step, and checks while it shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import click

from pgdurable.config import Dsn
from pgdurable.database import queries
from pgdurable.database.queries import AttemptRecord, Conn
from pgdurable_cli.database import with_connection
from pgdurable_cli.demo_children import Child, Children
from pgdurable_cli.demo_text import LEASE_SECONDS, TEXT
from pgdurable_cli.tables import table

KILL_AFTER_CHARACTERS = 80
CLIENT_SECONDS = 30.0


class DemoFailed(Exception):
    """pgdurable did not do what it promises."""


class Reader:
    """What a client remembers: the id, the last sequence number, the text so far."""

    def __init__(self) -> None:
        self.response_id = ""
        self.cursor = -1
        self.text = ""
        self.types: list[str] = []
        self._begun = False

    def take(self, event: Any) -> None:
        """Remember an event, show its text; the numbers must have no gap and no repetition."""
        if event.sequence_number != self.cursor + 1:
            raise DemoFailed(f"event {event.sequence_number} came after event {self.cursor}")
        self.cursor = event.sequence_number
        self.types.append(event.type)
        if event.type == "response.created":
            self.response_id = event.response.id
        if event.type == "response.output_text.delta":
            self.text += event.delta
            if not self._begun:
                click.echo("   | ", nl=False)
                self._begun = True
            click.secho(event.delta, fg="green", nl=False)

    def pause(self) -> None:
        """End the line of text."""
        if self._begun:
            click.echo()
        self._begun = False


def tell(database: Dsn, children: Children) -> None:
    """The whole story; raises DemoFailed where it does not end well."""
    url = _start(children)
    client = _client(url)
    reader = Reader()

    _step("A background stream, with the unmodified openai package:")
    click.echo('   client.responses.create(input="...", background=True, stream=True)')
    _read_a_part(client, reader)

    victim = _who_runs(database, children, reader.response_id)
    _step(f"kill -9 {victim.pid}: {victim.name}, which is at work on it (so says a SQL view).")
    victim.kill()
    killed_at = time.monotonic()
    click.echo(f"   The client hangs up as well. It remembers the id and event {reader.cursor}.")

    _step(
        "The client comes back. The other worker takes over when the lease has run out "
        f"({LEASE_SECONDS:g} s):"
    )
    click.echo(
        f"   client.responses.retrieve({_short(reader.response_id)}, stream=True, "
        f"starting_after={reader.cursor})"
    )
    went_on_at = _read_on(client, reader)
    reader.pause()
    click.echo(f"   It went on {went_on_at - killed_at:.1f} s after the kill, in mid-sentence.")
    _check(database, client, reader)


def _read_a_part(client: Any, reader: Reader) -> None:
    with client.responses.create(
        model="demo", input="Tell me about yourself.", background=True, stream=True
    ) as stream:
        for event in stream:
            reader.take(event)
            if len(reader.text) > KILL_AFTER_CHARACTERS:
                break
    reader.pause()


def _start(children: Children) -> str:
    """Start the server and both workers; returns the server's URL when all are ready."""
    click.echo("Starting a server and two workers (three `pgdurable run` processes) ...")
    api = children.start("server", "--no-worker", "--port", "0")
    workers = [children.start(f"worker {n}", "--no-server") for n in (1, 2)]
    url = api.wait_until_says(r"server_started address=(\S+)")
    for worker in workers:
        worker.wait_until_says(r"(worker_started) ")
    pids = " and ".join(str(worker.pid) for worker in workers)
    click.echo(f"   {url}/responses   server: pid {api.pid}, workers: pids {pids}")
    return url


def _client(url: str) -> Any:
    import openai

    # A proxy from the environment has no business between two processes of this machine.
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=url, api_key="none", http_client=http, timeout=CLIENT_SECONDS, max_retries=0
    )


def _who_runs(database: Dsn, children: Children, response_id: str) -> Child:
    """Ask the views: which worker has it, and which process is that?"""

    async def ask(conn: Conn) -> int | None:
        response = await queries.response_overview(conn, response_id=response_id)
        workers = await queries.worker_activity(conn)
        return next((w.pid for w in workers if w.worker_id == response.worker_id), None)

    pid = with_connection(database, ask)
    child = None if pid is None else children.by_pid(pid)
    if child is None:
        raise DemoFailed(f"no worker of this demo is at work on {response_id} (pid {pid})")
    return child


def _read_on(client: Any, reader: Reader) -> float:
    """Read to the end; when the longest pause was over (monotonic seconds)."""
    arrived = [time.monotonic()]
    for event in _events_after(client, reader):
        reader.take(event)
        arrived.append(time.monotonic())
    return max(pairwise(arrived), key=lambda pause: pause[1] - pause[0])[1]


def _events_after(client: Any, reader: Reader) -> Iterator[Any]:
    deadline = time.monotonic() + CLIENT_SECONDS
    stream = client.responses.retrieve(
        reader.response_id, stream=True, starting_after=reader.cursor
    )
    for event in stream:
        yield event
        if time.monotonic() > deadline:
            raise DemoFailed("the response did not finish in time")


def _check(database: Dsn, client: Any, reader: Reader) -> None:
    final = client.responses.retrieve(reader.response_id)
    if final.status != "completed":
        raise DemoFailed(f"the response ended as {final.status}")
    if "response.resumed" in reader.types:
        raise DemoFailed("the stream has a seam: response.resumed")
    if reader.text != TEXT:
        raise DemoFailed(f"the text is not complete: {reader.text!r}")
    history = with_connection(database, lambda conn: _history(conn, reader.response_id))
    _step("What the database says:")
    head = ("attempt", "reason", "worker", "took", "outcome")
    rows = [(a.attempt, a.reason, a.worker_id, _took(a), a.outcome) for a in history]
    for line in table(head, rows).splitlines():
        click.echo(f"   {line}")
    if [attempt.outcome for attempt in history] != ["lost", "completed"]:
        raise DemoFailed("there should be one lost attempt and one completed one")
    click.secho(
        f"\nAll {len(TEXT.split())} words arrived, once each, as events 0 to {reader.cursor} "
        "without a gap.",
        bold=True,
    )


async def _history(conn: Conn, response_id: str) -> list[AttemptRecord]:
    return await queries.attempts(conn, response_id=response_id)


def _took(attempt: AttemptRecord) -> object:
    return None if attempt.ended_at is None else attempt.ended_at - attempt.started_at


def _step(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _short(response_id: str) -> str:
    return f'"{response_id[:12]}..."'
