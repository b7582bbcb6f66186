"""What people type: ids and durations, as callbacks of click's parameters."""

from __future__ import annotations

import re
from datetime import timedelta

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = timedelta(days=36_500)


def duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """30s, 15m, 12h, 30d, 2w: a number and its unit."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", value.strip().lower())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration; write 30s, 15m, 12h, 30d or 2w")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST.total_seconds():
        raise click.BadParameter(f"{value!r} is more than 100 years")
    return timedelta(seconds=seconds)


def response_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The id of a response; what cannot be one is refused without asking the database."""
    if not re.fullmatch(r"resp_[0-9a-f]{32}", value):
        raise click.BadParameter(
            f"{value!r} is not a response id: resp_ and 32 hexadecimal digits. "
            "`pgdurable ls` lists them."
        )
    return value


response_id_argument = click.argument("response_id", metavar="ID", callback=response_id)
