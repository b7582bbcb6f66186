"""What this server speaks, as an OpenAPI document; tested against the server itself.

`schemas` is what goes in and out, `parameters` what goes beside it, `paths` the operations, and
`page` the document as a page for people: docs/http-api.md.
"""

from __future__ import annotations

from functools import lru_cache

import orjson
from aiohttp import web

from pgdurable.server.openapi.paths import build

__all__ = ["build", "document"]


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    mount = request.path.removesuffix("/openapi.json").removesuffix("/v1")
    return web.Response(body=_bytes(mount), content_type="application/json")


@lru_cache(maxsize=8)
def _bytes(mount: str) -> bytes:
    return orjson.dumps(build(mount))
