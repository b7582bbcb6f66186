"""Settings: what an operator may turn; the names that Databricks' server has mean the same."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pgdurable.errors import ConfigurationError

ResumeMarker = Literal["resumed", "in_progress"]
OnDisconnect = Literal["cancel", "continue"]
Tools = Literal["function_call", "mcp_call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRunningSettings:
    """Everything that can be set; times are in seconds, sizes in bytes.

    Names of databricks_ai_bridge.long_running keep their meaning. Raises ConfigurationError (a
    ValueError) where values contradict each other.
    """

    task_timeout_seconds: float = 3600.0
    """One attempt may run this long, then its response fails with code `task_timeout`."""
    poll_interval_seconds: float = 1.0
    """How often readers look for news while LISTEN is not working."""
    db_statement_timeout_ms: int = 5000
    cleanup_timeout_seconds: float = 7.0
    """How long a stopping process may take to hand its responses back."""
    heartbeat_interval_seconds: float = 3.0
    heartbeat_stale_threshold_seconds: float = 10.0
    """The lease: without a renewal for this long, a response goes to another worker."""
    stale_scan_interval_seconds: float = 0.75
    """How often each worker looks for workers that are gone."""
    stale_scan_jitter_fraction: float = 0.1
    stuck_after_seconds: float | None = None
    """A worker that lives but renews no lease for this long is stuck, and its responses go to
    another one; by default the lease. Doubles each time a response has met it."""

    concurrency: int = 64
    """How many responses one process works on at a time."""
    queue: str = "default"
    max_attempts: int = 3
    """How often the worker may die, with nothing else in progress, before the response fails."""
    deadline_seconds: float | None = None
    """A response that is not finished this long after its creation fails."""
    drain_timeout_seconds: float = 5.0
    """How long attempts may go on after SIGTERM before they are released."""
    recovery_max_bytes: int = 64 * 1024
    """The size of the `[RECOVERY]` message; what exceeds it is truncated, and marked so."""

    max_request_bytes: int = 4 * 1024 * 1024
    max_queued: int = 100_000
    """POSTs are answered 503 while this many enqueues wait for the database in this process."""
    keep_alive_seconds: float = 15.0
    on_disconnect: OnDisconnect = "cancel"
    """What becomes of a foreground response when its client leaves."""
    resume_marker: ResumeMarker = "resumed"
    tools: Tools = "function_call"
    pool_size: int = 4

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            _check_type(name, getattr(self, name), hint)
        self._check_positive()
        if self.heartbeat_stale_threshold_seconds <= self.heartbeat_interval_seconds:
            raise SettingsConflict(
                "heartbeat_stale_threshold_seconds must be greater than "
                "heartbeat_interval_seconds: a healthy worker must not lose its lease between beats"
            )
        if self.cleanup_timeout_seconds <= self.db_statement_timeout_ms / 1000:
            raise SettingsConflict(
                "cleanup_timeout_seconds must be greater than db_statement_timeout_ms / 1000, "
                "or the clean-up would give up before the database does"
            )
        if not 0 <= self.stale_scan_jitter_fraction < 1:
            raise SettingsConflict("stale_scan_jitter_fraction must be at least 0 and below 1")

    def _check_positive(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not isinstance(value, int | float):
                continue
            if value == 0 and name in ("stale_scan_jitter_fraction", "drain_timeout_seconds"):
                continue
            if not value > 0:  # nan is not greater either
                raise SettingsConflict(f"{name} must be greater than 0, not {value}")


def _check_type(name: str, value: Any, hint: Any) -> None:
    """What comes from an environment variable is text, and nothing else would notice so early."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = " or ".join(repr(choice) for choice in get_args(hint))
            raise SettingsConflict(f"{name} must be {choices}, not {value!r}")
        return
    wanted: Any = (int, float, *get_args(hint)) if hint is not int and hint is not str else hint
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind = {int: "a whole number", str: "a string"}.get(hint, "a number")
        raise SettingsConflict(f"{name} must be {kind}, not {value!r}")


class SettingsConflict(ConfigurationError, ValueError):
    """A setting contradicts another one, or is out of range."""


def require_embedded_allowed() -> None:
    """Raises ConfigurationError where PGDURABLE_EMBEDDED forbids a Postgres of our own."""
    if os.environ.get("PGDURABLE_EMBEDDED", "").strip().lower() in ("0", "false", "no", "off"):
        raise ConfigurationError(
            "no database is named, and the embedded one is forbidden (--no-embedded, or "
            "PGDURABLE_EMBEDDED=0). Set PGDURABLE_DSN to where Postgres is."
        )


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where the database is: `dsn` may be a pooler's, `listen_dsn` must reach Postgres itself."""

    dsn: str
    listen_dsn: str
    source: str = field(default="--dsn")

    @classmethod
    def find(cls, dsn: str | None = None, listen_dsn: str | None = None) -> Dsn | None:
        """The argument, else PGDURABLE_DSN, else DATABASE_URL; None where none is set.

        Raises ConfigurationError where the first one that is set is empty.
        """
        for value, source in (
            (dsn, "--dsn"),
            (os.environ.get("PGDURABLE_DSN"), "PGDURABLE_DSN"),
            (os.environ.get("DATABASE_URL"), "DATABASE_URL"),
        ):
            if value is not None:
                if not value.strip():
                    raise ConfigurationError(
                        f"{source} is empty: a secret that is missing? Set it to where Postgres "
                        "is, or unset it."
                    )
                direct = listen_dsn or os.environ.get("PGDURABLE_LISTEN_DSN") or value
                return cls(value, direct, source)
        return None
