"""How a handler ends its response: as docs/agents.md says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.inside import Event, inside, text_of


async def ended(dsn: str, last: Any) -> Event:
    async def handler(request: Any, context: Any) -> AsyncIterator[Any]:
        yield "so far"
        if isinstance(last, Exception):
            raise last
        yield last
        context.usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

    async with inside(dsn, handler) as server:
        return await server.finished(await server.post())


@pytest.mark.parametrize(
    ("last", "status", "field", "value"),
    [
        (" and on", "completed", "error", None),
        (
            {
                "type": "response.incomplete",
                "response": {"incomplete_details": {"reason": "no_time"}},
            },
            "incomplete",
            "incomplete_details",
            {"reason": "no_time"},
        ),
        (
            {"type": "error", "code": "no_stock", "message": "None is left."},
            "failed",
            "error",
            {"code": "no_stock", "message": "None is left.", "type": "server_error"},
        ),
        (
            ValueError("a secret"),
            "failed",
            "error",
            {
                "code": "server_error",
                "message": "The agent failed with ValueError.",
                "type": "server_error",
            },
        ),
    ],
)
async def test_a_handler_decides_how_its_response_ends(
    last: Any, status: str, field: str, value: Any, dsn: str
) -> None:
    response = await ended(dsn, last)
    assert response["status"] == status
    assert response[field] == value
    assert text_of(response).startswith("so far")
    if not isinstance(last, Exception):
        assert response["usage"]["total_tokens"] == 3
