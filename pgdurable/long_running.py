"""The class and constructor of databricks_ai_bridge.long_running, on top of the rest."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from aiohttp import web

from pgdurable.agent import Agent, default_agent
from pgdurable.config import Dsn, LongRunningSettings, SettingsConflict, require_embedded_allowed
from pgdurable.database.embedded import EmbeddedPostgres
from pgdurable.database.schema import migrate
from pgdurable.logs import LogEvent, attach_logger, log
from pgdurable.process.runtime import Runtime
from pgdurable.process.serve import listening_socket, patience, run_to_end, serve
from pgdurable.server import Options, make_app
from pgdurable.threads import in_own_thread

logger = logging.getLogger(__name__)

AGENT_TYPE = "ResponsesAgent"
_DEFAULTS = LongRunningSettings()


class LongRunningAgentServer:
    """Serves an agent on the Responses API, every event durable, every response recoverable.

    The constructor takes that server's names and defaults, `dsn` and `listen_dsn` (else
    PGDURABLE_DSN, DATABASE_URL, else an embedded Postgres), an `agent` (else what the module-level
    decorators registered) and any other setting of LongRunningSettings by name. Times are in
    seconds.

    Raises SettingsConflict (a ValueError) for values that contradict each other.
    """

    def __init__(
        self,
        agent_type: str = AGENT_TYPE,
        *,
        enable_chat_proxy: bool = False,
        db_instance_name: str | None = None,
        db_autoscaling_endpoint: str | None = None,
        db_project: str | None = None,
        db_branch: str | None = None,
        task_timeout_seconds: float = _DEFAULTS.task_timeout_seconds,
        poll_interval_seconds: float = _DEFAULTS.poll_interval_seconds,
        db_statement_timeout_ms: int = _DEFAULTS.db_statement_timeout_ms,
        cleanup_timeout_seconds: float = _DEFAULTS.cleanup_timeout_seconds,
        heartbeat_interval_seconds: float = _DEFAULTS.heartbeat_interval_seconds,
        heartbeat_stale_threshold_seconds: float = _DEFAULTS.heartbeat_stale_threshold_seconds,
        dsn: str | None = None,
        listen_dsn: str | None = None,
        agent: Agent | None = None,
        **settings: Any,
    ) -> None:
        if agent_type != AGENT_TYPE:
            raise ValueError(f"agent_type must be {AGENT_TYPE!r}, not {agent_type!r}")
        _refuse_lakebase(db_instance_name, db_autoscaling_endpoint, db_project, db_branch)
        self.settings = LongRunningSettings(
            task_timeout_seconds=task_timeout_seconds,
            poll_interval_seconds=poll_interval_seconds,
            db_statement_timeout_ms=db_statement_timeout_ms,
            cleanup_timeout_seconds=cleanup_timeout_seconds,
            heartbeat_interval_seconds=heartbeat_interval_seconds,
            heartbeat_stale_threshold_seconds=heartbeat_stale_threshold_seconds,
            **settings,
        )
        self.agent = agent if agent is not None else default_agent
        self.enable_chat_proxy = enable_chat_proxy
        self.with_worker = True
        self.dsn = dsn
        self.listen_dsn = listen_dsn
        attach_logger()

    def transform_stream_event(self, event: dict[str, Any], response_id: str) -> Any:
        """Override to change an event of the handler before it is stored."""
        return event

    def principal(self, request: web.Request) -> str:
        """Override to separate users: a request sees the responses of its principal only."""
        return ""

    def configure(self, **changes: Any) -> None:
        """Change settings after construction, before the application starts; None leaves one."""
        given = {name: value for name, value in changes.items() if value is not None}
        self.dsn = given.pop("dsn", self.dsn)
        self.listen_dsn = given.pop("listen_dsn", self.listen_dsn)
        self.settings = replace(self.settings, **given)

    @cached_property
    def app(self) -> web.Application:
        """The aiohttp application; mountable with `add_subapp`."""
        options = Options(
            settings=self.settings,
            agent_name=self.agent.name,
            principal=self.principal,
            enable_chat_proxy=self.enable_chat_proxy,
        )
        return make_app(options, self.opened)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Runtime]:
        """The running process behind the application: connections, worker, listener."""
        async with self._database() as dsn:
            runtime = Runtime(
                dsn,
                settings=self.settings,
                agent=self.agent,
                transform=self._transform(),
                worker=self.with_worker,
            )
            async with runtime.opened():
                yield runtime

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Dsn]:
        """The configured database, else one of our own, migrated."""
        dsn = Dsn.find(self.dsn, self.listen_dsn)
        if dsn is not None:
            yield dsn
            return
        require_embedded_allowed()
        postgres = EmbeddedPostgres()
        own = await in_own_thread(postgres.start)
        log(logger, logging.WARNING, LogEvent.EMBEDDED_STARTED, home=postgres.home)
        try:
            await in_own_thread(partial(migrate, own))
            yield Dsn(own, own, "embedded")
        finally:
            await in_own_thread(postgres.close)
            log(logger, logging.INFO, LogEvent.EMBEDDED_STOPPED, home=postgres.home)

    def _transform(self) -> Any:
        """None where nobody has overridden it, so that the hot path need not call it."""
        own = type(self).transform_stream_event
        same = own is LongRunningAgentServer.transform_stream_event
        return None if same else self.transform_stream_event

    def run(
        self, app_import_string: str | None = None, host: str = "127.0.0.1", port: int = 8000
    ) -> None:
        """Serve until SIGTERM; `--host` and `--port` on the command line win.

        `app_import_string` is accepted for that server's sake; `pgdurable run --processes N` is the
        way to more than one process.
        """
        parser = argparse.ArgumentParser(description=app_import_string)
        parser.add_argument("--host", default=host)
        parser.add_argument("--port", type=int, default=port)
        options, _ = parser.parse_known_args()
        sock = listening_socket(options.host, options.port)
        within = patience(self.settings)
        run_to_end(serve(self.app, sock, within=within, on_ready=lambda: None))


def _refuse_lakebase(*given: str | None) -> None:
    names = ("db_instance_name", "db_autoscaling_endpoint", "db_project", "db_branch")
    named = [name for name, value in zip(names, given, strict=True) if value]
    if named:
        raise SettingsConflict(
            f"{', '.join(named)}: Lakebase credentials are not supported yet. Pass the instance's "
            "connection string as dsn= (or PGDURABLE_DSN) instead."
        )
