"""Placeholder ids that agent SDKs put where they do not know the real one."""

from __future__ import annotations

from typing import Any

from pgdurable.errors import InvalidEvent

OPENAI_AGENTS_PLACEHOLDER = "__fake_id__"
LANGCHAIN_PLACEHOLDER_PREFIX = "resp_placeholder_"
MAX_DEPTH = 100


def replace_fake_id(obj: Any, real_id: str) -> Any:
    """Return `obj` with every SDK placeholder id in its values replaced by `real_id`.

    Dicts and lists are copied, anything else is returned as it is. Keys are left alone. Raises
    InvalidEvent for what is nested deeper than MAX_DEPTH, or contains itself: no event is.
    """
    return _replaced(obj, real_id, MAX_DEPTH)


def _replaced(obj: Any, real_id: str, depth: int) -> Any:
    if isinstance(obj, str):
        return real_id if _is_placeholder(obj) else obj
    if not isinstance(obj, dict | list):
        return obj
    if not depth:
        raise InvalidEvent(f"event: nested deeper than {MAX_DEPTH}")
    if isinstance(obj, dict):
        return {key: _replaced(value, real_id, depth - 1) for key, value in obj.items()}
    return [_replaced(value, real_id, depth - 1) for value in obj]


def _is_placeholder(text: str) -> bool:
    return text == OPENAI_AGENTS_PLACEHOLDER or text.startswith(LANGCHAIN_PLACEHOLDER_PREFIX)
