"""python -m pgdurable.server.openapi > docs/http-api.md"""

from __future__ import annotations

from pgdurable.server.openapi.page import render
from pgdurable.server.openapi.paths import build

if __name__ == "__main__":
    print(render(build()), end="")
