"""The edges of the diagram in docs/lifecycle.md."""

from __future__ import annotations

import re
from pathlib import Path

from tests.model.invariants import Transition

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def documented() -> set[Transition]:
    """Every edge, each drawn once."""
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE.read_text(), re.DOTALL)
    edges = [re.fullmatch(r"\s*(\S+) --> (\S+): (\w+)", line) for line in diagram.splitlines()]
    found = [Transition(edge[1], edge[2], edge[3]) for edge in edges if edge is not None]
    assert len(found) == len(set(found)) == len(edges) > 0, "a line that is no edge, or one twice"
    return set(found)


def is_drawn(edge: Transition) -> bool:
    """`delete_response` leads from everywhere to nowhere, which the page says in words."""
    return edge.function != "delete_response"
