"""Help that teaches."""

from __future__ import annotations

from importlib.metadata import version

import click
import pytest

from pgdurable_cli.main import main
from tests.cli.command import said

COMMANDS = ("demo", "run", "migrate", "ls", "show", "tail", "cancel", "retry", "prune")


def test_the_help_names_every_command_and_where_the_database_comes_from() -> None:
    out, _ = said("--help")
    listed = out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.splitlines() if line[:4].strip()][: len(COMMANDS)]
    assert tuple(main.commands) == COMMANDS
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert "PGDURABLE_DSN" in out and "DATABASE_URL" in out and "embedded" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_and_explains_every_option(command: str) -> None:
    out, _ = said(command, "--help")
    assert f"pgdurable {command}" in out.partition("Example")[2]
    options = [p for p in main.commands[command].params if isinstance(p, click.Option)]
    assert options
    assert [o.name for o in options if not (o.hidden or o.help)] == []


def test_the_version_is_the_installed_one() -> None:
    assert said("--version")[0] == f"pgdurable {version('pgdurable')}\n"


def test_no_command_shows_the_help_and_an_unknown_one_is_refused() -> None:
    assert "Commands:" in "".join(said(status=2))
    assert "No such command 'nope'" in said("nope", status=2)[1]
