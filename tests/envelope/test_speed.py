"""The envelope is on the path of every token."""

from __future__ import annotations

import timeit
from typing import Any

import pytest

from tests.envelope.log import Log

DELTA = {"output_index": 0, "content_index": 0, "delta": "Hello ", "logprobs": []}
BUDGET = 6e-6


@pytest.mark.parametrize(
    "yielded",
    ["Hello ", {"type": "response.output_text.delta", "item_id": "m", **DELTA}],
    ids=["str", "dict"],
)
def test_a_text_delta_costs_at_most_six_microseconds(yielded: Any) -> None:
    log = Log()
    feed = log.envelope.feed
    feed(yielded)
    best = min(timeit.repeat(lambda: feed(yielded), number=5000, repeat=7)) / 5000
    assert best <= BUDGET


def test_the_cost_of_a_delta_does_not_grow_with_the_text_before_it() -> None:
    log = Log()
    feed = log.envelope.feed

    def thousand() -> None:
        for _ in range(1000):
            feed("word " * 20)

    first = min(timeit.repeat(thousand, number=1, repeat=5))
    for _ in range(100):
        thousand()
    assert min(timeit.repeat(thousand, number=1, repeat=5)) < first * 5
