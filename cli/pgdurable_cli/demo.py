"""`pgdurable demo`: a response survives the SIGKILL of the process that works on it."""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from pgdurable import schema
from pgdurable.config import Dsn
from pgdurable.embedded import EmbeddedPostgres
from pgdurable_cli.database import check_form, explained
from pgdurable_cli.demo_children import Children
from pgdurable_cli.demo_story import DemoFailed, tell

MISSING_OPENAI = (
    "the demo's client is the openai package, which is not installed. "
    "One of these helps: pip install 'pgdurable[demo]' or pip install openai"
)


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INSIST_SECONDS = 0.5


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
            with _insisting():
                tell(database, children)
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


class _Interrupted(KeyboardInterrupt):
    """Once a plain KeyboardInterrupt has passed through exec(), Python ends by SIGINT, no matter
    what was made of it."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS)
    raise _Interrupted


@contextlib.contextmanager
def _cleaning_up() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP unwinds the stack, which stops everything.

    No other one interrupts that.
    """
    before = {number: signal.signal(number, _interrupt) for number in INTERRUPTS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        yield
    except Exception as exc:
        if signal.getsignal(signal.SIGINT) is not _interrupt:
            raise _Interrupted from exc  # an import that was interrupted made this of it
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _insisting() -> Iterator[None]:
    """In here an interrupt that somebody else's code has swallowed comes again."""
    signal.signal(signal.SIGALRM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
