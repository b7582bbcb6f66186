"""The response object: which keys it has, what they mean, and in which order they stand.

Whatever Python shows of a response is made here. What Postgres writes by itself, at an enqueue or
when it ends a response, is made by `_lifecycle_event` in SQL; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pgdurable.models import Status

KEYS: Final = (
    "id",
    "object",
    "created_at",  # seconds since 1970
    "status",
    "attempt_number",  # the attempt that has told last; 0 before the first claim
    "error",  # {code, message, type} of a failed response
    "incomplete_details",  # {reason} of an incomplete or cancelled one
    "output",  # closed items, by output index
)
"""Keys that every response has; its fields follow them."""

_OURS: Final = frozenset({*KEYS, "usage"})


def response_object(
    response_id: str,
    created_at: int,
    status: Status,
    attempt: int,
    fields: Mapping[str, Any],
    *,
    error: object = None,
    incomplete_details: object = None,
    output: Iterable[Any] = (),
    usage: object = None,
) -> dict[str, Any]:
    """A response as clients see it; `fields` is the rest of it, and cannot replace keys of ours.

    `usage` stands at the end, where any is known.
    """
    own = (response_id, "response", created_at, status, attempt, error, incomplete_details)
    response: dict[str, Any] = dict(zip(KEYS, (*own, list(output)), strict=True))
    response |= {key: value for key, value in fields.items() if key not in _OURS}
    if usage is not None:
        response["usage"] = usage
    return response
