"""Text in all the ways handlers yield it becomes messages with parts, deltas and ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envelope.log import Log
from tests.support.grammar import check_stream

MESSAGE = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]


def delta(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, **fields}


def said(log: Log) -> list[str]:
    """Completes the response and returns the text of each message."""
    output = log.complete()["output"]
    check_stream(log.events)
    return ["".join(part["text"] for part in item["content"]) for item in output]


def test_a_string_is_a_whole_message() -> None:
    log = Log()
    log.feed("Hello")
    assert said(log) == ["Hello"]
    assert log.types == [*MESSAGE, "completed"]


def test_strings_in_a_row_are_one_message() -> None:
    log = Log()
    log.feed("Hel", "", "lo")
    assert said(log) == ["Hello"]
    assert log.types.count("output_text.delta") == 2


def test_a_message_is_announced_empty_and_closed_with_annotations() -> None:
    log = Log()
    added, part_added, text_delta = log.feed("Hi")
    part = log.complete()["output"][0]["content"][0]

    assert added["item"]["content"] == [] and added["item"]["role"] == "assistant"
    assert added["item"]["status"] == "in_progress" and added["item"]["id"].startswith("msg_")
    assert part_added["part"] == {"type": "output_text", "text": "", "annotations": []}
    assert text_delta["logprobs"] == []
    assert part == {"type": "output_text", "text": "Hi", "annotations": []}


@pytest.mark.parametrize(
    "fields",
    [{}, {"item_id": "msg_1"}, {"output_index": 3}, {"item_id": "m", "content_index": 5}],
)
def test_deltas_without_an_item_open_one(fields: dict[str, Any]) -> None:
    log = Log()
    log.feed(delta("Hel", **fields), delta("lo", **fields))
    assert said(log) == ["Hello"]


def test_a_usable_item_id_of_the_handler_is_kept() -> None:
    log = Log()
    log.feed(delta("a", item_id="msg_own"))
    assert log.complete()["output"][0]["id"] == "msg_own"


@pytest.mark.parametrize("item_id", ["__fake_id__", "resp_other", "nul\x00", "", "a b", 5])
def test_an_item_id_that_names_nothing_is_replaced(item_id: object) -> None:
    log = Log()
    log.feed(delta("a", item_id=item_id), delta("b", item_id=item_id))
    (item,) = log.complete()["output"]
    assert item["id"].startswith("msg_") and len(item["id"]) == 36


def test_interleaved_messages_stay_apart() -> None:
    log = Log()
    for letter in "abc":
        log.feed(delta(letter, item_id="one"), delta(letter.upper(), item_id="two"))
    assert said(log) == ["abc", "ABC"]


def test_parts_of_one_message_stay_apart() -> None:
    log = Log()
    log.feed(delta("a", content_index=0), delta("b", content_index=1), delta("c", content_index=0))
    (item,) = log.complete()["output"]
    assert [part["text"] for part in item["content"]] == ["ac", "b"]


def test_text_after_a_tool_call_is_a_new_message() -> None:
    log = Log()
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}
    log.feed("before", {"type": "response.output_item.done", "item": call}, "after")
    output = log.complete()["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


def test_a_delta_above_32_kib_is_split_between_characters() -> None:
    log = Log()
    text = "ä😀x" * 9000
    events = log.feed(text, delta("€" * 20_000, item_id="m"))
    deltas = [event["delta"] for event in events if "delta" in event]

    assert len(deltas) == 4
    assert all(len(piece.encode()) <= 32 << 10 for piece in deltas)
    assert said(log) == [text, "€" * 20_000]


def test_a_delta_of_exactly_32_kib_is_not_split() -> None:
    log = Log()
    assert [e["type"] for e in log.feed("x" * (32 << 10))][2:] == ["response.output_text.delta"]


def test_nul_characters_are_kept() -> None:
    log = Log()
    log.feed("a\x00b", "c\x00")
    assert said(log) == ["a\x00bc\x00"]


def test_a_delta_keeps_its_logprobs_and_unknown_keys() -> None:
    log = Log()
    probs = [{"token": "a", "logprob": -0.5, "top_logprobs": []}]
    log.feed(delta("b"), delta("c"))  # neither one that opens a part
    (event,) = log.feed(delta("a", logprobs=probs, colour="red", obfuscation="xyz"))
    assert event["logprobs"] == probs and event["colour"] == "red"
    assert "obfuscation" not in event
    (event,) = log.feed(delta("d", logprobs=probs))
    assert event["logprobs"] == probs
    assert log.complete()["output"][0]["content"][0]["logprobs"] == probs * 2


def test_a_closed_item_that_says_more_than_was_streamed_sends_the_rest() -> None:
    log = Log()
    log.feed(delta("Hel", item_id="m"))
    message = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hello"}]}
    events = log.feed({"type": "response.output_item.done", "item": message})
    assert events[0]["delta"] == "lo"
    assert said(log) == ["Hello"]


@pytest.mark.parametrize("name", [{}, {"id": "msg_final"}])
def test_strings_followed_by_their_message_are_not_said_twice(name: dict[str, str]) -> None:
    log = Log()
    log.feed("Hel", "lo ")
    message = {"type": "message", **name, "content": [{"type": "output_text", "text": "Hello"}]}
    log.feed({"type": "response.output_item.done", "item": message})
    assert said(log) == ["Hello "]


def test_streamed_text_stays_what_it_was_even_if_the_closed_item_differs() -> None:
    log = Log()
    log.feed(delta("streamed", item_id="m"))
    message = {"type": "message", "id": "m", "content": "other", "phase": "final_answer"}
    log.feed({"type": "response.output_item.done", "item": message})
    item = log.complete()["output"][0]
    assert item["content"][0]["text"] == "streamed" and item["phase"] == "final_answer"


def test_a_refusal_is_a_part_of_its_own() -> None:
    log = Log()
    log.feed({"type": "response.refusal.delta", "delta": "I can"})
    log.feed({"type": "response.refusal.done", "refusal": "I cannot."})
    (item,) = log.complete()["output"]
    check_stream(log.events)
    assert item["content"] == [{"type": "refusal", "refusal": "I cannot."}]


def test_annotations_are_counted_and_kept() -> None:
    log = Log()
    cite = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    added = {"type": "response.output_text.annotation.added", "annotation_index": 7}
    log.feed("text", {**added, "annotation": cite}, {**added, "annotation": {**cite, "url": "v"}})
    (item,) = log.complete()["output"]
    check_stream(log.events)
    assert [a["url"] for a in item["content"][0]["annotations"]] == ["u", "v"]


def test_annotations_that_only_the_closed_item_has_are_sent_before_its_end() -> None:
    log = Log()
    log.feed(delta("text", item_id="m"))
    part = {"type": "output_text", "text": "text", "annotations": [{"type": "file_path"}]}
    log.feed(
        {
            "type": "response.output_item.done",
            "item": {"type": "message", "id": "m", "content": [part]},
        }
    )
    assert log.types[3:5] == ["output_text.annotation.added", "output_text.done"]


def test_a_lone_end_of_text_is_a_message() -> None:
    log = Log()
    log.feed({"type": "response.output_text.done", "text": "all at once"})
    assert said(log) == ["all at once"]


def test_a_repeated_end_is_not_a_second_message() -> None:
    log = Log()
    log.feed(delta("a", item_id="m"))
    message = {"type": "message", "id": "m", "content": "a"}
    log.feed({"type": "response.output_item.done", "item": message})
    assert log.feed({"type": "response.output_text.done", "item_id": "m", "text": "a"}) == []
    part = {"type": "output_text", "text": "a"}
    assert log.feed({"type": "response.content_part.done", "item_id": "m", "part": part}) == []
    assert said(log) == ["a"]


def test_a_part_without_text_is_passed_on_as_it_is() -> None:
    log = Log()
    image = {"type": "output_image", "image_url": "data:"}
    message = {"type": "message", "content": ["see ", image]}
    log.feed({"type": "response.output_item.done", "item": message})
    (item,) = log.complete()["output"]
    check_stream(log.events)
    assert item["content"][1] == image
