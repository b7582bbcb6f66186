"""python -m benchmarks.report: rewrite the tables in docs/benchmarks.md from results/*.json.

A table goes between `<!-- results: QUESTION -->` and `<!-- end -->`; the text around stays.
`--check` changes nothing and fails where a table is not the one that the results give.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.tools.figures import shown
from benchmarks.tools.harness import RESULTS
from benchmarks.tools.process import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
_TABLE = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(result: dict[str, Any]) -> str:
    """A Markdown table of one question's rows: median (min-max), ratio = ours / yardstick."""
    lines = [
        "| setting | unit | ours | yardstick | its figure | ratio | bar | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        theirs, met = row["yardstick"], row["bar_is_met"]
        cells = [
            row["setting"],
            row["unit"],
            _figures(row["ours"]),
            theirs["name"] if theirs else "",
            _figures(theirs) if theirs else "",
            "" if row["ratio"] is None else shown(row["ratio"]),
            row["bar"] or "",
            "" if met is None else "yes" if met else "**no**",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines.append(f"\n{result['runs']} runs of {shown(result['seconds'])} s; {machine}.\n")
    return "\n".join(lines)


def _figures(figures: dict[str, float]) -> str:
    median, low, high = (shown(figures[name]) for name in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


def rewritten(page: str, results: Path = RESULTS) -> str:
    """The page with every table that has a result replaced; one without a result is emptied."""

    def replace(found: re.Match[str]) -> str:
        path = results / f"{found[2]}.json"
        new = table(json.loads(path.read_text())) if path.exists() else "Not measured yet.\n"
        return found[1] + new + found[3]

    return _TABLE.sub(replace, page)


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text()))


def check() -> None:
    if rewritten(page := PAGE.read_text()) != page:
        raise SystemExit(f"{PAGE.name} differs from results/: run python -m benchmarks.report")


if __name__ == "__main__":
    check() if "--check" in sys.argv[1:] else main()
