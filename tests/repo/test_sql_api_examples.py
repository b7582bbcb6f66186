"""What docs/sql-api.md shows can be typed into psql.

The comment above a block says what it is: `run` works, `refused: SQLSTATE` is refused so,
`signature` is compared by test_mirror.py, `skipped: WHY` is not run. A `text` block after one that
ran is what it must have said, with `...` for what differs from time to time.
"""

from __future__ import annotations

import itertools

from tests.repo.markdown import ROOT, Block, blocks
from tests.support.psql import needs_psql, session

END = "-- end of block"
NO_ERROR = "00000"


def typed(block: Block) -> str:
    """The block, and then the SQLSTATE of the last error in it."""
    return (
        f"\\set LAST_ERROR_SQLSTATE {NO_ERROR}\n{block.text}\n"
        f"\\echo :LAST_ERROR_SQLSTATE\n\\echo '{END}'\n"
    )


def expected_sqlstate(block: Block) -> str | None:
    """None where the block is not to be typed."""
    verb, _, rest = block.mark.partition(": ")
    assert verb in ("run", "refused", "signature", "skipped"), f"what to do with {block}?"
    return {"run": NO_ERROR, "refused": rest}.get(verb)


def misses(said: str, shown: str) -> list[str]:
    """The lines of `shown` that are not in `said`, in their order, whatever the blanks."""
    rest, missing = " ".join(said.split()), []
    for line in shown.splitlines():
        for part in filter(str.strip, line.split("...")):
            wanted = " ".join(part.split())
            before, found, after = rest.partition(wanted)
            rest = after if found else before
            if not found:
                missing.append(part)
    return missing


@needs_psql
def test_every_example_works_and_says_what_is_shown(dsn: str) -> None:
    page = blocks((ROOT / "docs" / "sql-api.md").read_text("utf-8"))
    examples = [b for b in page if b.language == "sql" and expected_sqlstate(b) is not None]
    shown = {
        before: after.text
        for before, after in itertools.pairwise(page)
        if before.language == "sql" and after.language == "text"
    }
    assert len(examples) > 30 and len(shown) > 20

    *said, _ = session(dsn, "".join(map(typed, examples))).split(END)
    for block, output in zip(examples, said, strict=True):
        lines = output.rstrip().splitlines()
        assert lines[-1] == expected_sqlstate(block), f"{block.text}\n{output}"
        assert misses(output, shown.get(block, "")) == [], f"{block.text}\n{output}"
