"""A call and its output -> one mcp_call."""

from __future__ import annotations

from typing import Any

import orjson

from pgdurable.server.view.events import Json


def paired(output: list[Any], label: str) -> list[Any]:
    """An output whose calls are merged with the first output of theirs that comes after them."""
    shown: list[Any] = []
    calls: dict[str, int] = {}
    for item in output:
        kind = item.get("type") if isinstance(item, dict) else None
        call_id = item.get("call_id") if kind else None
        if kind == "function_call_output" and call_id in calls:
            position = calls.pop(call_id)
            shown[position] = mcp_call(shown[position], item, label)
            continue
        if kind == "function_call" and isinstance(call_id, str):
            calls[call_id] = len(shown)
        shown.append(item)
    return shown


def mcp_shell(call: Json, label: str) -> Json:
    return {
        "id": call["id"],
        "type": "mcp_call",
        "status": "in_progress",
        "server_label": label,
        "name": call.get("name", ""),
        "arguments": "",
        "output": None,
        "error": None,
    }


def mcp_call(call: Json, output: Json, label: str) -> Json:
    statuses = [item.get("status") or "completed" for item in (output, call)]
    return {
        **mcp_shell(call, label),
        "status": next((status for status in statuses if status != "completed"), "completed"),
        "arguments": call.get("arguments", ""),
        "output": _text(output.get("output")),
    }


def _text(output: object) -> str:
    """A tool's output as the one string an mcp_call has room for."""
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in output
    ):
        return "\n".join(part["text"] for part in output)
    return orjson.dumps(output).decode()
