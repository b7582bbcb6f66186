"""The one description of a request: the fields the server reads, and what a response says of them.

POST reads these rows, and so does `enqueue_response`: sql/05_vocabulary.sql is generated from them.
A new field is a new row. What has no row is the handler's alone, and passes as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Echo(StrEnum):
    """When a response object has the field."""

    ALWAYS = "always"
    WHEN_SENT = "when sent"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. Null is the same as not sent.

    `types` are JSON's, and integer: a number without a fraction. A value of another type is
    refused where the field is `checked`, else it is the same as not sent. An object is laid over a
    `default` that is an object.
    """

    name: str
    types: tuple[str, ...]
    default: Any = None
    echo: Echo = Echo.ALWAYS
    checked: bool = False
    required: bool = False

    @property
    def wanted(self) -> str:
        """The types, as a refusal calls them."""
        return " or ".join(NAMES[name] for name in self.types)

    def takes(self, value: Any) -> bool:
        """Is it of one of the types? True and false are no numbers."""
        kind = _JSON_TYPES[type(value)]
        return kind in self.types or (
            kind == "number" and "integer" in self.types and value % 1 == 0
        )


NAMES: Final = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "integer": "an integer",
    "string": "a string",
    "array": "a list",
    "object": "an object",
}
_JSON_TYPES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

FIELDS: Final = (
    Field("input", ("string", "array"), echo=Echo.NEVER, checked=True, required=True),
    Field("stream", ("boolean",), False, Echo.NEVER, checked=True),
    # A response object has it from its row: one that is enqueued by SQL, or retried, always is.
    Field("background", ("boolean",), False, Echo.NEVER, checked=True),
    Field("store", ("boolean",), True, checked=True),
    Field("metadata", ("object",), {}, checked=True),
    Field("previous_response_id", ("string",), checked=True),
    # A string is echoed as an object with this id, and nothing as the name of the agent.
    Field("conversation", ("string", "object"), echo=Echo.WHEN_SENT),
    Field("model", ("string",)),
    Field("instructions", ("string", "array")),
    Field("max_output_tokens", ("integer",)),
    Field("max_tool_calls", ("integer",), echo=Echo.WHEN_SENT),
    Field("parallel_tool_calls", ("boolean",), True),
    Field("prompt", ("object",), echo=Echo.WHEN_SENT),
    Field("prompt_cache_key", ("string",), echo=Echo.WHEN_SENT),
    Field("reasoning", ("object",)),
    Field("safety_identifier", ("string",), echo=Echo.WHEN_SENT),
    Field("service_tier", ("string",), echo=Echo.WHEN_SENT),
    Field("temperature", ("number",)),
    Field("text", ("object",), {"format": {"type": "text"}}),
    Field("tool_choice", ("string", "object"), "auto"),
    Field("tools", ("array",), []),
    Field("top_logprobs", ("integer",), echo=Echo.WHEN_SENT),
    Field("top_p", ("number",)),
    Field("truncation", ("string",), "disabled"),
    Field("user", ("string",)),
)

CONVERSATION_PATHS: Final = (
    ("custom_inputs", "thread_id"),
    ("custom_inputs", "session_id"),
    ("context", "conversation_id"),
    ("conversation", "id"),
    ("conversation",),
)
"""Where a request may name its conversation; the first that is a string and not empty counts."""

_CHECKED: Final = tuple(field for field in FIELDS if field.checked)
_ECHOED: Final = {field.name: field for field in FIELDS if field.echo is not Echo.NEVER}
_DEFAULTS: Final = {field.name: field.default for field in FIELDS if field.echo is Echo.ALWAYS}


def name_of_type(value: Any) -> str:
    """What a refusal calls the type of a value."""
    return NAMES[_JSON_TYPES[type(value)]]


def refused(data: Mapping[str, Any]) -> Iterator[Field]:
    """Yield the fields that are missing, or not of their type, where that matters."""
    for field in _CHECKED:
        value = data.get(field.name)
        if field.required if value is None else not field.takes(value):
            yield field


def echoed(data: Mapping[str, Any], *, model_default: str) -> dict[str, Any]:
    """What a response object says of its request, but for `background`.

    `model` is never null: some clients refuse a response without one.
    """
    fields = dict(_DEFAULTS)
    for name, value in data.items():
        field = _ECHOED.get(name)
        if field is not None and value is not None and field.takes(value):
            laid_over = isinstance(field.default, dict)
            fields[name] = {**field.default, **value} if laid_over else value
    fields["model"] = fields["model"] or model_default
    if isinstance(conversation := fields.get("conversation"), str):
        del fields["conversation"]
        if conversation:
            fields["conversation"] = {"id": conversation}
    return fields
