"""What can go wrong, as a tree. Each class is one sentence, which is also its default message.

PgdurableError
├── DatabaseRefused            a SQL function said no (SQLSTATE class PD)
│   ├── ResponseNotFound       PD001
│   ├── LeaseLost              PD002
│   ├── AlreadyFinished        PD003
│   ├── IdempotencyConflict    PD004
│   ├── SchemaMismatch         PD005
│   └── NotFinished            PD006
├── InvalidRequest             the client's mistake; carries the parameter it is in
├── InvalidEvent               the handler's mistake; the response fails with `invalid_event`
├── ConfigurationError         the operator's mistake: a setting, a module, a missing handler
├── DatabaseUnavailable        Postgres did not answer, or refused the connection
└── RoomFailed                 a part of the process has failed, so the process ends
"""

from __future__ import annotations

import psycopg


class PgdurableError(Exception):
    """Something in pgdurable went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class DatabaseRefused(PgdurableError):
    """The database refused the transition."""

    sqlstate: str | None = None


class ResponseNotFound(DatabaseRefused):
    """There is no such response."""

    sqlstate = "PD001"


class LeaseLost(DatabaseRefused):
    """This attempt no longer holds the lease on the response."""

    sqlstate = "PD002"


class AlreadyFinished(DatabaseRefused):
    """The response has reached a terminal status."""

    sqlstate = "PD003"


class IdempotencyConflict(DatabaseRefused):
    """The idempotency key was used before with another request."""

    sqlstate = "PD004"


class SchemaMismatch(DatabaseRefused):
    """The database's pgdurable schema does not fit this release."""

    sqlstate = "PD005"


class NotFinished(DatabaseRefused):
    """The response has not reached a terminal status yet."""

    sqlstate = "PD006"


class InvalidRequest(PgdurableError):
    """The request is not valid."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class InvalidEvent(PgdurableError):
    """The handler yielded something that is not a Responses stream event."""


class ConfigurationError(PgdurableError):
    """A setting is wrong."""


class DatabaseUnavailable(PgdurableError):
    """Postgres cannot be reached."""


class RoomFailed(PgdurableError):
    """A part of the process has failed, so that the process ends."""


BY_SQLSTATE: dict[str, type[DatabaseRefused]] = {
    cls.sqlstate: cls for cls in DatabaseRefused.__subclasses__() if cls.sqlstate
}


def from_database(exc: psycopg.Error) -> Exception:
    """The domain error behind a database error, by SQLSTATE; else the error itself."""
    refused = BY_SQLSTATE.get(exc.sqlstate or "")
    if refused is None:
        return exc
    return refused(exc.diag.message_primary)
