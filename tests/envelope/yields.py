"""Hypothesis strategies for everything a handler may yield, sensible or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pgdurable.envelope.kinds import KINDS
from tests.envelope.log import RESPONSE_ID

Json = dict[str, Any]

texts = st.one_of(
    st.sampled_from(["", "a", "b ", "Hello", "Hello world", "\x00", "ä€😀", "{}"]),
    st.text(max_size=6),
    st.sampled_from(["x" * 9000, "😀" * 9000]),
)
ids = st.sampled_from(["msg_1", "msg_2", "fc_1", "__fake_id__", RESPONSE_ID, "bad id\x00", "", 7])
calls = st.sampled_from(["call_1", "call_2", "", None])
indexes = st.sampled_from([0, 0, 1, 2, -1, "0", True, None])
positions = st.sampled_from([0, 0, 0, 1, 5])


def objects(required: Json, optional: Json | None = None) -> SearchStrategy[Json]:
    return st.fixed_dictionaries(required, optional=optional or {})


references: Json = {
    "item_id": ids,
    "output_index": indexes,
    "content_index": positions,
    "summary_index": positions,
    "sequence_number": st.integers(0, 9),
    "response_id": st.just("resp_inner"),
}
citations: SearchStrategy[Json] = objects({"type": st.just("url_citation"), "url": texts})
parts = st.one_of(
    objects(
        {"type": st.sampled_from(["output_text", "text", "summary_text", "reasoning_text"])},
        {
            "text": texts,
            "annotations": st.one_of(
                st.lists(citations, max_size=2), st.sampled_from([True, 7, {}])
            ),
            "logprobs": st.just([]),
        },
    ),
    objects({"type": st.just("refusal"), "refusal": texts}),
    objects({"type": st.just("output_image"), "url": texts}),
    objects({"text": texts}),
    texts,
)
statuses = st.sampled_from(["completed", "incomplete", "in_progress", "failed", None])
naming: Json = {"id": ids, "status": statuses}
items = st.one_of(
    objects(
        {"type": st.just("message")},
        {**naming, "content": st.one_of(texts, st.lists(parts, max_size=3)), "role": texts},
    ),
    objects(
        {"type": st.sampled_from(["function_call", "custom_tool_call", "mcp_call"])},
        {
            **naming,
            "call_id": calls,
            "name": texts,
            "arguments": texts,
            "input": texts,
            "error": texts,
        },
    ),
    objects(
        {"type": st.sampled_from(["function_call_output", "shell_call", "shell_call_output"])},
        {**naming, "call_id": calls, "output": texts},
    ),
    objects(
        {"type": st.just("reasoning")},
        {**naming, "summary": st.lists(parts, max_size=2), "content": st.lists(parts, max_size=2)},
    ),
    objects({"type": st.just("code_interpreter_call")}, {**naming, "code": texts}),
    objects({"type": st.sampled_from(["web_search_call", "something_new"])}, naming),
)
deltas = objects(
    {"type": st.sampled_from([kind.delta for kind in KINDS]), "delta": texts},
    {**references, "logprobs": st.just([{"token": "a"}]), "extra": st.just(1)},
)
text_ends = objects(
    {"type": st.sampled_from([kind.done for kind in KINDS])},
    {**references, **dict.fromkeys(("text", "refusal", "arguments", "input", "code"), texts)},
)
part_events = objects(
    {
        "type": st.sampled_from(
            [
                f"response.{family}.{step}"
                for family in ("content_part", "reasoning_summary_part")
                for step in ("added", "done")
            ]
        ),
        "part": parts,
    },
    references,
)
item_events = objects(
    {
        "type": st.sampled_from(["response.output_item.added", "response.output_item.done"]),
        "item": items,
    },
    references,
)
annotation_events = objects(
    {"type": st.just("response.output_text.annotation.added"), "annotation": citations},
    references,
)
inner_responses = objects(
    {},
    {
        "id": st.just("resp_inner"),
        "model": texts,
        "output": st.lists(items, max_size=3),
        "usage": st.sampled_from([None, {"input_tokens": 1 << 62, "output_tokens": 2}]),
        "status": st.sampled_from(["completed", "failed", "incomplete", "cancelled"]),
        "error": st.sampled_from([None, {"code": "x", "message": "y"}, "broken"]),
        "incomplete_details": st.sampled_from([None, {"reason": "max_output_tokens"}]),
    },
)
lifecycle_events = objects(
    {
        "type": st.sampled_from(
            ["created", "queued", "in_progress", "resumed", "completed", "failed", "incomplete"]
        ).map("response.{}".format)
    },
    {"response": inner_responses},
)
other_events = objects(
    {
        "type": st.sampled_from(
            [
                "response.web_search_call.completed",
                "response.mcp_call.in_progress",
                "response.unheard.of",
                "keepalive",
            ]
        )
    },
    {**references, "error": st.just({"message": "no"})},
)
frames = st.sampled_from([{"trace_id": "tr-1"}, {"trace_id": None}])
errors = st.sampled_from(
    [
        {"type": "error", "code": "c", "message": "m", "param": None},
        {"type": "error", "error": {"message": "nested"}},
        {"error": "just text"},
    ]
)
rubbish = st.sampled_from(
    [
        None,
        1,
        object(),
        {},
        {"type": 5},
        {"type": "a b"},
        {"type": "x", "v": float("nan")},
        {"type": "x", "v": 1 << 64},
        {"type": "response.output_text.delta", "delta": "\ud800"},
        {"type": "response.output_text.delta", "delta": None},
        {"type": "response.output_item.done", "item": {}},
        {"type": "response.output_item.added", "item": {"type": "message", "content": 5}},
        {"type": "response.completed", "response": {"output": [{"type": "message"}, 5]}},
        "\udfff",
    ]
)

yields = st.one_of(
    texts,
    deltas,
    deltas,
    deltas,
    text_ends,
    part_events,
    item_events,
    item_events,
    annotation_events,
    other_events,
    lifecycle_events,
    frames,
    rubbish,
)
yields_and_errors = st.one_of(yields, yields, yields, errors)
