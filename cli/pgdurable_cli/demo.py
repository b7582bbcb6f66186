"""`pgdurable demo`: a response survives the SIGKILL of the process that works on it."""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

import click

from pgdurable.config import Dsn
from pgdurable.database import schema
from pgdurable.database.embedded import EmbeddedPostgres
from pgdurable_cli.database import check_form, explained
from pgdurable_cli.demo_children import Children
from pgdurable_cli.demo_story import DemoFailed, tell

MISSING_OPENAI = (
    "the demo's client is the openai package, which is not installed. "
    "One of these helps: pip install 'pgdurable[demo]' or pip install openai"
)

CLEAN_UP_SECONDS = 5.0


@click.command(
    short_help="Watch a response survive kill -9.",
    epilog="""\b
Examples:
  pgdurable demo
  pgdurable demo --dsn postgresql://localhost/scratch

PGDURABLE_DSN and DATABASE_URL are not looked at: the demo writes to no database but its own
throw-away one, or the one you name with --dsn.""",
)
@click.option(
    "--dsn",
    metavar="DSN",
    help="A database to run on, with the schema pgdurable added.  [default: a throw-away one]",
)
def demo(dsn: str | None) -> None:
    """Show the main job: a streamed response survives kill -9 of its worker.

    Starts a Postgres, a server and two workers on this machine, streams a background response
    with the openai package, kills the worker in mid-sentence, re-attaches, checks that no word is
    missing, and stops everything again.
    """
    if importlib.util.find_spec("openai") is None:
        raise click.ClickException(MISSING_OPENAI)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_cleaning_up())
        folder = stack.enter_context(_folder())
        database = stack.enter_context(_database(dsn, folder))
        stack.enter_context(explained(database))
        click.echo("Creating the schema `pgdurable` ...")
        schema.migrate(database.dsn)
        queue = f"demo-{secrets.token_hex(4)}"
        children = stack.enter_context(Children(database.dsn, queue=queue, logs=folder))
        try:
            _told(database, children)
        except DemoFailed as exc:
            raise click.ClickException(f"{exc}\n\n{children.last_words()}") from exc
    click.echo("Everything that was started has been stopped.")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pgdurable-demo-"))
    folder.chmod(0o755)  # as root, Postgres runs as another account
    try:
        yield folder
    finally:
        deadline = time.monotonic() + CLEAN_UP_SECONDS
        while folder.exists() and time.monotonic() < deadline:
            # Again, because what an interrupted initdb had started may still write for a moment.
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _database(dsn: str | None, folder: Path) -> Iterator[Dsn]:
    if dsn is not None:
        named = Dsn(dsn, dsn)
        check_form(named)
        yield named
        return
    click.echo("Starting a throw-away Postgres ...")
    with explained(None), EmbeddedPostgres(folder / "postgres") as server:
        yield Dsn(server.dsn(), server.dsn(), "the demo's own Postgres")


def _told(database: Dsn, children: Children) -> None:
    """The story, in a thread of its own, so that signals do not end up in the code of others, which
    may swallow a KeyboardInterrupt, or break at it."""
    told: Future[None] = Future()

    def run() -> None:
        try:
            tell(database, children)
        except BaseException as exc:
            told.set_exception(exc)
        else:
            told.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    told.result()


@contextlib.contextmanager
def _cleaning_up() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP unwinds the stack, which stops everything.

    No other one interrupts that.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except Exception as exc:
        if interrupted:  # in the middle of an import, say, which made another error of it
            raise KeyboardInterrupt from exc
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
