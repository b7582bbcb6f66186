"""`pgdurable`: the group of all commands."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click

from pgdurable_cli.cancel import cancel
from pgdurable_cli.database import explained
from pgdurable_cli.demo import demo
from pgdurable_cli.ls import ls
from pgdurable_cli.migrate import migrate
from pgdurable_cli.prune import prune
from pgdurable_cli.retry import retry
from pgdurable_cli.run import run
from pgdurable_cli.show import show
from pgdurable_cli.tail import tail

CONNECT_TIMEOUT_SECONDS = "5"


class Commands(click.Group):
    """Commands in the order in which one meets them; no traceback for a user's mistake."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of registration, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what pgdurable refuses becomes a message and exit code 1."""
        with explained(None):
            return super().invoke(ctx)


@click.group(
    cls=Commands,
    epilog="The database is --dsn, else PGDURABLE_DSN, else DATABASE_URL, else an embedded "
    "Postgres. `pgdurable COMMAND --help` has examples.",
)
@click.version_option(package_name="pgdurable", message="pgdurable %(version)s")
def main() -> None:
    """Long-running agents that survive crashes, on Postgres alone."""
    # For every libpq connection of this process: an address that nobody answers is no hang.
    os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT_SECONDS)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal cannot show is escaped
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (demo, run, migrate, ls, show, tail, cancel, retry, prune):
    main.add_command(command)
