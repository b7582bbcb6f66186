"""The tables of docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.__main__ import QUESTIONS
from benchmarks.report import PAGE, rewritten

RESULT = {
    "question": "append",
    "runs": 3,
    "seconds": 5.0,
    "machine": {"cores": "2"},
    "rows": [
        {
            "setting": "32 streams",
            "unit": "events/s",
            "ours": {"median": 20000.0, "min": 19000.0, "max": 21000.0},
            "yardstick": {"name": "floor", "median": 40000.0, "min": 39000.0, "max": 41000.0},
            "ratio": 0.5,
            "bar": "≥ 0.6x",
            "bar_is_met": False,
        }
    ],
}


def test_a_table_shows_the_missed_bar(tmp_path: Path) -> None:
    (tmp_path / "append.json").write_text(json.dumps(RESULT))
    page = "Before.\n<!-- results: append -->\nold\n<!-- end -->\nAfter.\n"

    new = rewritten(page, tmp_path)

    assert "| 32 streams | events/s | 20,000 (19,000-21,000) | floor |" in new
    assert "| 0.5 | ≥ 0.6x | **no** |" in new
    assert new.startswith("Before.\n") and new.endswith("<!-- end -->\nAfter.\n")
    assert rewritten(new, tmp_path) == new


def test_every_question_has_a_table_and_the_page_is_what_the_results_give() -> None:
    page = PAGE.read_text()

    assert [question for question in QUESTIONS if f"<!-- results: {question} -->" not in page] == []
    assert rewritten(page) == page
