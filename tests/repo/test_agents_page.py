"""The authors' page: its blocks run, and its tables name what the code has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pgdurable import Agent, AgentRequest, Context
from tests.repo.markdown import ROOT, Block, blocks, names, section
from tests.repo.test_docs_run import compare

PAGE = (ROOT / "docs" / "agents.md").read_text("utf-8")
BLOCKS = blocks(PAGE)


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_the_tables_name_all_that_a_context_has_for_a_handler() -> None:
    not_for_handlers = {"annotations", "for_test", "read_previous_events"}
    assert set(names(section(PAGE, "The context"))) == public(Context) - not_for_handlers


def test_the_table_names_what_a_request_has_beside_its_fields() -> None:
    shown = set(names(section(PAGE, "The request")))
    assert shown == public(AgentRequest) - public(dict) - {"model_dump", "model_dump_json"}


def test_the_page_names_each_decorator() -> None:
    decorators = {name for name in ("stream", "invoke", "on_recovery") if hasattr(Agent(), name)}
    assert all(f"@agent.{name}()" in PAGE for name in decorators) and len(decorators) == 3


@pytest.mark.parametrize("number", [n for n, b in enumerate(BLOCKS) if b.language == "python"])
def test_a_block_runs_and_says_what_the_page_shows(number: int, tmp_path: Path) -> None:
    block = BLOCKS[number]
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    following: list[Block] = BLOCKS[number + 1 : number + 2]
    if following and following[0].language == "text":
        compare(done.stdout, following[0].text)
