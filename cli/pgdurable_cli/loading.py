"""MODULE:ATTR -> the server to run, or one clear sentence why there is none."""

from __future__ import annotations

import importlib
import operator
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

import click
from aiohttp import web

import pgdurable
from pgdurable.agent import Agent, default_agent
from pgdurable.errors import ConfigurationError
from pgdurable.long_running import LongRunningAgentServer

_PACKAGE = Path(pgdurable.__file__).parent


def load_server(target: str) -> LongRunningAgentServer:
    """The server that `target` names; an agent gets one with the default settings.

    The current directory comes first on sys.path. Raises click.ClickException.
    """
    name, colon, attribute = target.partition(":")
    if not name or (colon and not attribute):
        raise click.ClickException(f"{target!r} is not MODULE or MODULE:ATTR, like hello:agent")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _import(name)
    found = _named(module, attribute) if attribute else _only(module)
    server = LongRunningAgentServer(agent=found) if isinstance(found, Agent) else found
    if not isinstance(server, LongRunningAgentServer):
        raise click.ClickException(_wrong_kind(target, server))
    try:
        server.agent.handler_for(stream=True)
    except ConfigurationError as exc:
        raise click.ClickException(f"{target}: {exc}") from exc
    return server


def _import(name: str) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise click.ClickException(
            f"{name} is a file; name it as a module, seen from the current directory: {dotted}"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise click.ClickException(
                f"there is no module {name!r}: neither installed nor below {os.getcwd()}"
            ) from exc
        raise click.ClickException(_failed_import(name, exc)) from exc
    except (Exception, SystemExit) as exc:
        raise click.ClickException(_failed_import(name, exc)) from exc


def _failed_import(name: str, exc: BaseException) -> str:
    """What failed and in which line: the last one that is neither ours nor the import's."""
    where = ""
    if isinstance(exc, SyntaxError) and exc.filename:
        where = f" ({exc.filename}, line {exc.lineno})"
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(exc.__traceback__)
            if "importlib" not in frame.filename and not _is_ours(frame.filename)
        ]
        if frames:
            where = f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return f"importing {name} failed: {type(exc).__name__}: {exc}{where}"


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(_PACKAGE) or filename == __file__


def _named(module: ModuleType, attribute: str) -> object:
    try:
        return operator.attrgetter(attribute)(module)
    except AttributeError as exc:
        known = ", ".join(_all(module, LongRunningAgentServer) + _all(module, Agent))
        raise click.ClickException(
            f"module {module.__name__} has no {attribute!r}"
            + (f"; it has {known}" if known else ", nor any server or agent")
        ) from exc


def _only(module: ModuleType) -> object:
    """The one server of the module, else its one agent, else the module-level decorators'."""
    for kind, plural in ((LongRunningAgentServer, "servers"), (Agent, "agents")):
        names = _all(module, kind)
        if len({id(getattr(module, name)) for name in names}) > 1:
            raise click.ClickException(
                f"module {module.__name__} has several {plural}: {', '.join(names)}. "
                f"Say which: {module.__name__}:{names[0]}"
            )
        if names:
            return getattr(module, names[0])
    if default_agent.stream.handler or default_agent.invoke.handler:
        return default_agent
    raise click.ClickException(
        f"module {module.__name__} has no server and no agent, and decorates no function with "
        "@stream() or @invoke()"
    )


def _all(module: ModuleType, kind: type) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, kind)]


def _wrong_kind(target: str, found: object) -> str:
    if isinstance(found, web.Application):
        return (
            f"{target} is an aiohttp application, which has no worker: "
            "name the LongRunningAgentServer itself"
        )
    return f"{target} is a {type(found).__name__}, neither a LongRunningAgentServer nor an Agent"
