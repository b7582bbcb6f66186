"""The vocabulary of a Responses stream: which events carry text, and where that text lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pgdurable.models import TERMINAL_TYPES, Status


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of streamed text: a part of an item's list, or one string field of the item."""

    item_type: str
    holder: str
    """The item's key that holds the text: content, summary, arguments, input, code."""
    part_type: str | None
    """None where the holder itself is the text."""
    text_key: str
    delta: str
    done: str
    has_logprobs: bool = False
    always_streamed: bool = True
    """False where an absent value stays absent instead of becoming an empty string."""

    @property
    def index_key(self) -> str | None:
        """The key of its events that says which part they are about."""
        return INDEX_KEYS[self.holder] if self.part_type else None


INDEX_KEYS: Final = {"content": "content_index", "summary": "summary_index"}
OPENINGS: Final = {
    "content": "response.content_part.added",
    "summary": "response.reasoning_summary_part.added",
}
CLOSINGS: Final = {
    "content": "response.content_part.done",
    "summary": "response.reasoning_summary_part.done",
}

TEXT: Final = Kind(
    "message", "content", "output_text", "text",
    "response.output_text.delta", "response.output_text.done",
    has_logprobs=True,
)  # fmt: skip
REFUSAL: Final = Kind(
    "message", "content", "refusal", "refusal",
    "response.refusal.delta", "response.refusal.done",
)  # fmt: skip
REASONING_TEXT: Final = Kind(
    "reasoning", "content", "reasoning_text", "text",
    "response.reasoning_text.delta", "response.reasoning_text.done",
)  # fmt: skip
SUMMARY_TEXT: Final = Kind(
    "reasoning", "summary", "summary_text", "text",
    "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
)  # fmt: skip
ARGUMENTS: Final = Kind(
    "function_call", "arguments", None, "arguments",
    "response.function_call_arguments.delta", "response.function_call_arguments.done",
)  # fmt: skip
MCP_ARGUMENTS: Final = Kind(
    "mcp_call", "arguments", None, "arguments",
    "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
)  # fmt: skip
INPUT: Final = Kind(
    "custom_tool_call", "input", None, "input",
    "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
)  # fmt: skip
CODE: Final = Kind(
    "code_interpreter_call", "code", None, "code",
    "response.code_interpreter_call_code.delta", "response.code_interpreter_call_code.done",
    always_streamed=False,
)  # fmt: skip

KINDS: Final = (
    TEXT,
    REFUSAL,
    REASONING_TEXT,
    SUMMARY_TEXT,
    ARGUMENTS,
    MCP_ARGUMENTS,
    INPUT,
    CODE,
)
BY_DELTA: Final = {kind.delta: kind for kind in KINDS}
BY_DONE: Final = {kind.done: kind for kind in KINDS}
BY_PART: Final = {(k.item_type, k.holder, k.part_type): k for k in KINDS if k.part_type}
FIELDS: Final = {kind.item_type: kind for kind in KINDS if kind.part_type is None}
LISTS: Final = {"message": ("content",), "reasoning": ("summary", "content")}

ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"
ANNOTATION_ADDED: Final = "response.output_text.annotation.added"

CREATED: Final = "response.created"
QUEUED: Final = "response.queued"
IN_PROGRESS: Final = "response.in_progress"
RESUMED: Final = "response.resumed"
TERMINAL: Final = frozenset(TERMINAL_TYPES.values())
LIFECYCLE: Final = frozenset({CREATED, QUEUED, IN_PROGRESS, RESUMED}) | TERMINAL
"""Events about the response as a whole; every other one is about its content."""

INNER_TERMINAL: Final = {
    TERMINAL_TYPES[Status.COMPLETED]: Status.COMPLETED,
    TERMINAL_TYPES[Status.FAILED]: Status.FAILED,
    TERMINAL_TYPES[Status.INCOMPLETE]: Status.INCOMPLETE,
    "response.cancelled": Status.INCOMPLETE,
}
"""The last event of an inner call, and how the response ends that goes no further."""
RESERVED: Final = LIFECYCLE - TERMINAL | {"keepalive"}
"""Events only the server may write; from a handler they are dropped."""

ITEM_PROGRESS: Final = {
    f"response.{item_type}.{phase}": item_type
    for item_type, phases in {
        "mcp_call": "in_progress completed failed",
        "mcp_list_tools": "in_progress completed failed",
        "web_search_call": "in_progress searching completed",
        "file_search_call": "in_progress searching completed",
        "code_interpreter_call": "in_progress interpreting completed",
        "image_generation_call": "in_progress generating completed partial_image",
        "compaction": "compacting",
    }.items()
    for phase in phases.split()
} | {
    f"response.{event}.{phase}": item_type
    for event, item_type in {
        "shell_call_command": "shell_call",
        "shell_call_output_content": "shell_call_output",
        "apply_patch_call_operation_diff": "apply_patch_call",
    }.items()
    for phase in ("added", "delta", "done")
}
"""Events that accumulators only accept for an open item of the given type."""

CALL_TYPES: Final = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "shell_call",
        "local_shell_call",
        "computer_call",
        "apply_patch_call",
    }
)
OUTPUT_TYPES: Final = frozenset(f"{call}_output" for call in CALL_TYPES)
CALL_IDENTITY: Final = frozenset(
    {"function_call", "custom_tool_call", "shell_call", "shell_call_output"}
)
"""Types that openai-python and openai-node tell apart by call id alone: it must never repeat."""

NEEDED: Final = {
    **dict.fromkeys(CALL_TYPES | OUTPUT_TYPES, ("call_id",)),
    "function_call": ("call_id", "name"),
    "custom_tool_call": ("call_id", "name"),
}
"""What must be known before an item is announced, because it may not change afterwards."""

ID_PREFIXES: Final = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
    "mcp_call": "mcp_",
}
