"""The operations."""

from typing import Any


def build() -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "pgdurable", "version": "0"}, "paths": {}}
