"""The `pgdurable` logger: what is logged, in which form, and what must never be."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from enum import StrEnum
from typing import Any, TextIO

LOGGER_NAME = "pgdurable"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
QUIET_VARIABLE = "PGDURABLE_LOG_QUIET"
REPEAT_SECONDS = 60.0


class LogEvent(StrEnum):
    """Everything that is logged: a transition at INFO, what somebody should know above it."""

    # a response
    RESPONSE_CLAIMED = "response_claimed"
    RESPONSE_TAKEN_OVER = "response_taken_over"
    RESPONSE_FINISHED = "response_finished"
    RESPONSE_RELEASED = "response_released"
    RESPONSE_HELD = "response_held"
    RESPONSE_CANCEL_REQUESTED = "response_cancel_requested"
    RESPONSE_RETRIED = "response_retried"
    RESPONSE_DELETED = "response_deleted"

    # an attempt
    ATTEMPT_ABANDONED = "attempt_abandoned"
    ATTEMPT_TIMED_OUT = "attempt_timed_out"
    HANDLER_FAILED = "handler_failed"
    TASK_FAILED = "task_failed"
    LEASE_LOST = "lease_lost"
    RESTART_DIFFERS = "restart_differs"
    RENEWAL_FAILED = "renewal_failed"
    RENEWAL_RECOVERED = "renewal_recovered"

    # a conversation
    ALIAS_RESOLVED = "alias_resolved"
    ALIAS_ROTATED = "alias_rotated"

    # a process
    WORKER_STARTED = "worker_started"
    WORKER_DRAINING = "worker_draining"
    WORKER_STOPPED = "worker_stopped"
    SERVER_STARTED = "server_started"
    SERVER_EXPOSED = "server_exposed"
    SERVER_STOPPED = "server_stopped"
    SLOTS_FULL = "slots_full"
    ROOM_FAILED = "room_failed"
    REQUEST_FAILED = "request_failed"
    READER_DROPPED = "reader_dropped"
    SCHEMA_MIGRATED = "schema_migrated"
    EMBEDDED_STARTED = "embedded_started"
    EMBEDDED_STOPPED = "embedded_stopped"

    # its connections
    LISTENER_CONNECTED = "listener_connected"
    LISTENER_LOST = "listener_lost"
    LISTENER_UNAVAILABLE = "listener_unavailable"
    DATABASE_LOST = "database_lost"
    DATABASE_RECOVERED = "database_recovered"
    READ_FAILED = "read_failed"
    CLAIM_FAILED = "claim_failed"
    FLUSH_FAILED = "flush_failed"
    FLUSH_RETRIED = "flush_retried"
    WAKE_FAILED = "wake_failed"


def attach_logger() -> logging.Logger:
    """Let the `pgdurable` logger reach stdout at INFO, and return it.

    Idempotent. A stream handler that is there already is left alone, and so is a lower level;
    propagation stays on, and where it leads to a handler of the application's, ours is silent.
    PGDURABLE_LOG_QUIET=1 (or true, yes) leaves the logger untouched.
    """
    logger = logging.getLogger(LOGGER_NAME)
    if os.environ.get(QUIET_VARIABLE, "").strip().lower() in ("1", "true", "yes"):
        return logger
    if logger.level == logging.NOTSET or logger.level > logging.INFO:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = _Stdout(sys.stdout)
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
    return logger


class _Stdout(logging.StreamHandler[TextIO]):
    """Says what nobody else says; applications configure their logging early or late."""

    def emit(self, record: logging.LogRecord) -> None:
        root = logging.getLogger()
        heard = any(not isinstance(handler, logging.NullHandler) for handler in root.handlers)
        if not (heard and logging.getLogger(LOGGER_NAME).propagate):
            super().emit(record)


def log(
    logger: logging.Logger,
    level: int,
    event: LogEvent,
    *,
    response_id: str | None = None,
    attempt: int | None = None,
    worker_id: str | None = None,
    exc_info: bool | BaseException | None = None,
    **more: Any,
) -> None:
    """Log a transition: as `event key=value ...`, and every key in the record's `extra`.

    What is None is left out. No value can start a new line.
    """
    # dictConfig and fileConfig disable each logger that they do not name, unless told otherwise;
    # who wants to hear less of us sets a level.
    logger.disabled = False
    if not logger.isEnabledFor(level):
        return
    named = {"response_id": response_id, "attempt": attempt, "worker_id": worker_id, **more}
    known = {key: value for key, value in named.items() if value is not None}
    text = " ".join([event, *(f"{key}={_one_line(value)}" for key, value in known.items())])
    extra = {"event": str(event)}
    extra.update({key: value for key, value in known.items() if key not in _RECORD_ATTRIBUTES})
    # The text goes in as an argument: a percent sign in a value is no format.
    logger.log(level, "%s", text, exc_info=exc_info, extra=extra, stacklevel=2)


class Repeated:
    """A failure that goes on, so that it does not fill the log: it is due at first, and then once
    a minute."""

    def __init__(self) -> None:
        self._due_at: float | None = None

    def due(self) -> bool:
        """It has failed again: is that to be logged?"""
        now = time.monotonic()
        if self._due_at is not None and now < self._due_at:
            return False
        self._due_at = now + REPEAT_SECONDS
        return True

    @property
    def goes_on(self) -> bool:
        """Has it failed, and not been over since?"""
        return self._due_at is not None

    def over(self) -> bool:
        """It has not failed: had it before?"""
        failed, self._due_at = self._due_at is not None, None
        return failed


def redact_dsn(dsn: str) -> str:
    """Return a connection string, URI or keyword form, with every password as `***`.

    Works on malformed strings too, which is when they are shown; it rather hides too much.
    """
    if "://" in dsn:
        hidden = _URI_PASSWORD.sub(r"\1:***@", dsn)
        return _URI_PASSWORD_PARAMETER.sub(r"\1***", hidden)
    return _KEYWORD_PASSWORD.sub(r"\1***", dsn)


_URI_PASSWORD = re.compile(r"(://[^:@/?#\s]*):.*@", re.DOTALL)
_URI_PASSWORD_PARAMETER = re.compile(r"(password=)[^&\s]*", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(
    r"(password\s*=\s*)(?:'(?:\\.|[^'\\])*'?|(?:\\.|[^\s\\])*)", re.IGNORECASE | re.DOTALL
)
# `extra` may not name what a record has anyway.
_RECORD_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_LINE_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def _one_line(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else _LINE_BREAKS.sub(" ", text)
