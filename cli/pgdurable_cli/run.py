"""`pgdurable run`: serve an agent, work on its responses, or both."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import click

from pgdurable.config import Dsn
from pgdurable.database import schema
from pgdurable.logs import LOGGER_NAME, LogEvent, log
from pgdurable.long_running import LongRunningAgentServer
from pgdurable.process.serve import (
    Loop,
    address_of,
    listening_socket,
    new_loop,
    patience,
    run_to_end,
    serve,
    work,
)
from pgdurable_cli import processes
from pgdurable_cli.database import dsn_option, opened_database
from pgdurable_cli.loading import load_server

logger = logging.getLogger("pgdurable.cli")

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    target: str
    no_worker: bool
    no_server: bool
    host: str
    port: int
    concurrency: int | None
    processes: int
    queue: str | None
    migrate: bool
    dsn: str | None
    listen_dsn: str | None
    log_level: str
    loop: Loop
    shared_port: bool
    until_stdin_closes: bool


@click.command(
    short_help="Run an agent: its API, its worker, or both.",
    epilog="""\b
Examples:
  pgdurable run hello:agent
  pgdurable run hello                          its only server or agent
  pgdurable run hello --processes 4 --concurrency 100
  pgdurable run hello --no-worker              only the API
  pgdurable run hello --no-server --queue slow only a worker
  pgdurable run hello --migrate --dsn postgresql://localhost/app

SIGTERM or Ctrl-C: claim nothing more, let responses finish for a few seconds, hand the others to
other workers. A second one ends at once; what was in progress is then taken over when its lease
has run out.""",
)
@click.argument("target", metavar="MODULE:ATTR")
@click.option("--no-worker", is_flag=True, help="Serve the API only.")
@click.option("--no-server", is_flag=True, help="Work on responses only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Responses that each process works on at a time.  [default: the server's, else 64]",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that share the port; one that dies is replaced.",
)
@click.option("--queue", help="Queue to enqueue into and to work on.  [default: default]")
@click.option("--migrate", is_flag=True, help="Create or upgrade the schema first.")
@dsn_option
@click.option(
    "--listen-dsn",
    metavar="DSN",
    help="Where to LISTEN, if --dsn is a transaction pooler's.  [default: PGDURABLE_LISTEN_DSN]",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Log from."
)
@click.option(
    "--loop",
    type=click.Choice(get_args(Loop)),
    default="auto",
    show_default=True,
    help="Event loop; auto takes uvloop where it is installed.",
)
@click.option("--shared-port", is_flag=True, hidden=True)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def run(**options: Any) -> None:
    """Run an agent: the API on http://HOST:PORT and a worker, in one process or in several.

    MODULE is importable from the current directory; ATTR is a LongRunningAgentServer or an Agent
    in it, and may be left out where there is only one.
    """
    _run(Options(**options))


def _run(options: Options) -> None:
    if options.no_worker and options.no_server:
        raise click.UsageError("--no-worker and --no-server together leave nothing to run.")
    if options.until_stdin_closes:
        threading.Thread(target=_stop_when_closed, args=[_moved_stdin()], daemon=True).start()
    new_loop(options.loop).close()  # refused before anything is opened
    server = load_server(options.target)
    logging.getLogger(LOGGER_NAME).setLevel(options.log_level.upper())
    server.configure(
        dsn=options.dsn,
        listen_dsn=options.listen_dsn,
        concurrency=options.concurrency,
        queue=options.queue,
    )
    server.with_worker = not options.no_worker
    source = "--dsn" if options.dsn else "dsn= in the code"
    with opened_database(server.dsn, server.listen_dsn, source=source) as database:
        if database.source == "embedded":
            click.echo(f"While this runs: psql '{database.dsn}'", err=True)
        if options.migrate:
            _migrate(database)
        schema.require_role(database.dsn)
        schema.check(database.dsn)
        if options.processes > 1:
            status = _run_many(options, database)
        else:
            server.configure(dsn=database.dsn, listen_dsn=database.listen_dsn)
            status = _run_here(server, options)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a handler that ignores its cancellation must not keep the process.
    os._exit(status)


def _migrate(database: Dsn) -> None:
    before = schema.migrate(database.dsn)
    log(
        logger,
        logging.INFO,
        LogEvent.SCHEMA_MIGRATED,
        found=before.installed_release or before.fit,
        release=before.release,
    )


def _run_here(server: LongRunningAgentServer, options: Options) -> int:
    working = f"working on {server.settings.concurrency} responses at a time"
    working += f" from queue {server.settings.queue}"
    within = patience(server.settings)
    alone = not options.shared_port  # else the parent counts the signals
    if options.no_server:
        ready = partial(_say, f"{options.target}: {working}")
        working_on = work(server.opened(), within=within, on_ready=ready, second_ends=alone)
        run_to_end(working_on, loop=options.loop)
        return 0
    sock = _bind(options, shared=options.shared_port)
    working = working if server.with_worker else "without a worker"
    ready = partial(_say, f"{options.target}: serving {address_of(sock)}/responses, {working}")
    serving = serve(server.app, sock, within=within, on_ready=ready, second_ends=alone)
    run_to_end(serving, loop=options.loop)
    return 0


def _run_many(options: Options, database: Dsn) -> int:
    """The parent: keeps the port, passes on the database, and looks after the others."""
    argv = [sys.executable, "-m", "pgdurable", "run", options.target]
    argv += ["--shared-port", "--until-stdin-closes", "--log-level", options.log_level]
    argv += ["--loop", options.loop]
    for name in ("dsn", "listen_dsn", "concurrency", "queue"):
        if (value := getattr(options, name)) is not None:
            argv += [f"--{name.replace('_', '-')}", str(value)]
    if options.no_worker:
        argv.append("--no-worker")
    with contextlib.ExitStack() as stack:
        if options.no_server:
            argv.append("--no-server")
        else:
            _bind(options, shared=False).close()  # refused, if somebody else listens there
            sock = stack.enter_context(_bind(options, shared=True))
            argv += ["--host", options.host, "--port", str(sock.getsockname()[1])]
        env = {"PGDURABLE_DSN": database.dsn, "PGDURABLE_LISTEN_DSN": database.listen_dsn}
        return asyncio.run(processes.keep_running(argv, env, options.processes))


def _bind(options: Options, *, shared: bool) -> socket.socket:
    try:
        return listening_socket(options.host, options.port, shared=shared)
    except OSError as exc:
        raise click.ClickException(_cannot_listen(options, exc)) from exc


def _cannot_listen(options: Options, exc: OSError) -> str:
    where = f"{options.host} port {options.port}"
    if exc.errno == errno.EADDRINUSE:
        return (
            f"cannot listen on {where}: another process has it. "
            "Take another one with --port, or any free one with --port 0."
        )
    if exc.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 take privileges. Choose with --port."
    return f"cannot listen on {where}: {exc.strerror or exc}. Choose with --host and --port."


def _moved_stdin() -> int:
    """The pipe from the parent, moved: what a handler starts neither reads nor inherits it."""
    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return pipe


def _stop_when_closed(pipe: int) -> None:
    """The parent holds the other end: if it dies, however that happens, we stop as well."""
    while os.read(pipe, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _say(text: str) -> None:
    click.echo(f"{text}. Ctrl-C stops it.", err=True)
