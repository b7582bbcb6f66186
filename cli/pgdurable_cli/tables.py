"""Rows for a terminal: aligned columns, short durations."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import click


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Left-aligned columns under their heads; None becomes a dash."""
    lines = [list(head), *([text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def text(value: object) -> str:
    """One cell, without anything that could move the cursor."""
    if value is None or value == "":
        return "-"
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, datetime):
        return value.astimezone().isoformat(" ", "milliseconds")
    return printable(str(value))


def printable(line: str) -> str:
    """What clients chose goes to a terminal only with its control characters escaped.

    The escapes are those of JSON, so that what was JSON stays JSON.
    """
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def duration(value: timedelta) -> str:
    """12ms, 4.2s, 3m 20s, 5h 12m, 12d 3h; negative ones with a minus."""
    seconds = value.total_seconds()
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 1:
        return f"{sign}{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{sign}{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{sign}{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours}h {minutes}m"
    days, hours = divmod(hours, 24)
    return f"{sign}{days}d {hours}h"


def fitted(line: str, *, terminal: bool, width: int) -> str:
    """The line, cut to the terminal's width where it goes to one."""
    return line if not terminal or len(line) <= width else line[: width - 1] + "…"


def echo_fitted(line: str) -> None:
    """Print a line that may be long: whole into a pipe or a file, cut on a terminal."""
    terminal = sys.stdout.isatty()
    click.echo(fitted(line, terminal=terminal, width=shutil.get_terminal_size().columns))
