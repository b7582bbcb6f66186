"""Placeholder ids that agent SDKs put where they do not know the real one."""

from __future__ import annotations

from typing import Any

OPENAI_AGENTS_PLACEHOLDER = "__fake_id__"
LANGCHAIN_PLACEHOLDER_PREFIX = "resp_placeholder_"


def replace_fake_id(obj: Any, real_id: str) -> Any:
    """Return `obj` with every SDK placeholder id in its values replaced by `real_id`.

    Dicts and lists are copied, anything else is returned as it is. Keys are left alone.
    """
    if isinstance(obj, str):
        return real_id if _is_placeholder(obj) else obj
    if isinstance(obj, dict):
        return {key: replace_fake_id(value, real_id) for key, value in obj.items()}
    if isinstance(obj, list):
        return [replace_fake_id(value, real_id) for value in obj]
    return obj


def _is_placeholder(text: str) -> bool:
    return text == OPENAI_AGENTS_PLACEHOLDER or text.startswith(LANGCHAIN_PLACEHOLDER_PREFIX)
