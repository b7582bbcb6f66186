"""What this server speaks, as an OpenAPI document; tested against the server itself.

schemas   what goes in and out        paths   which operations there are
page      the document as a page for people: docs/http-api.md
"""

from __future__ import annotations

from functools import cache

import orjson
from aiohttp import web

from pgdurable.server.openapi.paths import build
from pgdurable.server.refusals import json_response

__all__ = ["build", "document"]


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return json_response(_bytes())


@cache
def _bytes() -> bytes:
    return orjson.dumps(build())
