"""The request as a handler sees it: a dict whose keys also read as attributes.

Handlers written for a pydantic request keep working (`request.input[-1].content`,
`item.model_dump()`), and so does everything that wants plain JSON objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

# Absent ones read as None, because the published types have them as optional.
_ITEM_FIELDS = frozenset({"id", "type", "role", "content", "status", "conversation_id", "user_id"})
_REQUEST_FIELDS = frozenset(
    {
        "background",
        "context",
        "conversation",
        "include",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
_PLAIN_FIELDS = ("custom_inputs", "metadata")


class Record(dict[str, Any]):
    """A JSON object of the request: an item, a content part, the context.

    An unknown attribute is an AttributeError, an absent optional field is None.
    """

    __slots__ = ()
    _optional_fields: ClassVar[frozenset[str]] = _ITEM_FIELDS

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__({key: _record(value) for key, value in data.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name in self._optional_fields:
                return None
            raise AttributeError(f"{type(self).__name__} has no field {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def model_dump(
        self,
        *,
        mode: str = "python",
        exclude_none: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        by_alias: bool = False,
    ) -> dict[str, Any]:
        """Return a deep copy made of plain dicts and lists, as pydantic's method does.

        The other keywords are accepted and change nothing: only what was sent is here.
        """
        dumped: dict[str, Any] = _plain(self, exclude_none=exclude_none)
        return dumped

    def model_dump_json(self, *, exclude_none: bool = False) -> str:
        """Return the object as JSON text."""
        return orjson.dumps(self.model_dump(exclude_none=exclude_none)).decode()


class RecoveryNote(Record):
    """An input item that tells a model what an attempt that is gone has done."""

    __slots__ = ()


class AgentRequest(Record):
    """A request to an agent; from a text, a request with that input.

    `input` is always a list: a string becomes one user message, and an item with a role but no
    type is a `message`. `custom_inputs` and `metadata` are plain dicts, empty where none came.
    """

    __slots__ = ()
    _optional_fields: ClassVar[frozenset[str]] = _REQUEST_FIELDS

    def __init__(self, data: Mapping[str, Any] | str) -> None:
        if isinstance(data, str):
            data = {"input": data}
        super().__init__({key: data[key] for key in data if key not in _PLAIN_FIELDS})
        self["input"] = [_input_item(item) for item in input_items(self.get("input"))]
        for name in _PLAIN_FIELDS:
            sent = data.get(name)
            self[name] = _plain(sent) if isinstance(sent, dict) else {}

    @property
    def messages(self) -> list[Record]:
        """The messages of the input, without the notes that recovery has put there."""
        return [
            item
            for item in self["input"]
            if isinstance(item, Record)
            and item.get("type") == "message"
            and not isinstance(item, RecoveryNote)
        ]

    @property
    def text(self) -> str:
        """What the user said last, in whatever form; empty where the user said nothing.

        The `text` parameter of the Responses API, its output format, is `request["text"]`.
        """
        said = [message for message in self.messages if message.get("role") == "user"]
        return _text_of(said[-1].get("content")) if said else ""


def _text_of(content: Any) -> str:
    """The text of a message, whatever form its content has."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def input_items(sent: Any) -> list[Any]:
    """Return a request's input as a list of items; a string becomes one user message."""
    if isinstance(sent, str):
        return [{"type": "message", "role": "user", "content": sent}]
    return list(sent) if isinstance(sent, list) else []


def _input_item(item: Any) -> Any:
    if isinstance(item, dict):
        if item.get("type") is None and "role" in item:
            return Record({**item, "type": "message"})
        return item if isinstance(item, Record) else Record(item)
    return item


def _record(value: Any) -> Any:
    if isinstance(value, dict):
        return (RecoveryNote if isinstance(value, RecoveryNote) else Record)(value)
    if isinstance(value, list):
        return [_record(item) for item in value]
    return value


def _plain(value: Any, *, exclude_none: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: _plain(item, exclude_none=exclude_none)
            for key, item in value.items()
            if not (exclude_none and item is None)
        }
    if isinstance(value, list):
        return [_plain(item, exclude_none=exclude_none) for item in value]
    return value
