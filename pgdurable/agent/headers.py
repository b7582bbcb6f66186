"""The HTTP headers of the request that a handler is serving; kept in memory, never stored.

They are known only while the response is worked on by the process that accepted it, so an
attempt in another process sees none.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_headers: ContextVar[Mapping[str, str] | None] = ContextVar("pgdurable_headers", default=None)


def get_request_headers() -> dict[str, str]:
    """Return the request's headers with lower-case names; empty where they are unknown."""
    return dict(_headers.get() or {})


def set_request_headers(headers: Mapping[str, str]) -> None:
    """Make `headers` visible to everything that runs in the current context."""
    _headers.set({name.lower(): value for name, value in headers.items()})
