"""Readings, their medians, and the rows that say how far we are from a yardstick."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

OURS = "pgdurable"


class Reading(NamedTuple):
    """One figure of one run; `setting` and `unit` together say what was measured."""

    setting: str
    unit: str
    value: float


class Figures(NamedTuple):
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{shown(self.median)} ({shown(self.low)}-{shown(self.high)})"


class Bar(NamedTuple):
    """What a row has to reach: a bound on the ratio to the yardstick or on our own figure."""

    kind: Literal["at_least", "at_most"]
    value: float
    of: Literal["ratio", "ours"] = "ratio"

    def is_met(self, ratio: float | None, ours: float) -> bool | None:
        measured = ours if self.of == "ours" else ratio
        if measured is None:
            return None
        return measured >= self.value if self.kind == "at_least" else measured <= self.value

    def __str__(self) -> str:
        sign = "≥" if self.kind == "at_least" else "≤"
        return f"{sign} {shown(self.value)}{'x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """Our figure beside one yardstick's; ratio is ours / yardstick, whichever way is better."""

    setting: str
    unit: str
    ours: Figures
    yardstick: str | None
    theirs: Figures | None
    bar: Bar | None

    @property
    def ratio(self) -> float | None:
        if self.theirs is None or not self.theirs.median:
            return None
        return self.ours.median / self.theirs.median

    def as_json(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "setting": self.setting,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "yardstick": None
            if self.theirs is None
            else {"name": self.yardstick} | _rounded(self.theirs),
            "ratio": None if ratio is None else float(f"{ratio:.3g}"),
            "bar": None if self.bar is None else str(self.bar),
            "bar_is_met": None if self.bar is None else self.bar.is_met(ratio, self.ours.median),
        }

    def __str__(self) -> str:
        cells = [f"{self.setting:<34}", f"{self.unit:<16}", f"ours {self.ours}"]
        if self.theirs is not None:
            cells.append(f"{self.yardstick} {self.theirs}")
        if self.ratio is not None:
            cells.append(f"ratio {self.ratio:.3g}")
        if self.bar is not None:
            met = self.bar.is_met(self.ratio, self.ours.median)
            cells.append(
                f"bar {self.bar}: {'met' if met else 'no yardstick' if met is None else 'MISSED'}"
            )
        return "  ".join(cells)


class Readings:
    """All readings of one invocation, by contestant, setting and unit."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, contestant: str, reading: Reading) -> None:
        key = (contestant, reading.setting, reading.unit)
        self._values.setdefault(key, []).append(reading.value)

    def figures(self, contestant: str, setting: str, unit: str) -> Figures | None:
        values = self._values.get((contestant, setting, unit))
        if not values:
            return None
        return Figures(statistics.median(values), min(values), max(values))

    def rows(self, bars: dict[tuple[str, str, str], Bar]) -> list[Row]:
        """Each of our figures beside each yardstick that has the same setting and unit.

        Bars are keyed by (setting, unit, yardstick); yardstick "" is a bar on our own figure.
        """
        rows = []
        for contestant, setting, unit in self._values:
            ours = self.figures(OURS, setting, unit)
            if contestant != OURS or ours is None:
                continue
            theirs = [
                name for name, s, u in self._values if (s, u) == (setting, unit) and name != OURS
            ]
            own_bar = bars.get((setting, unit, ""))
            if own_bar or not theirs:
                rows.append(Row(setting, unit, ours, None, None, own_bar))
            for name in theirs:
                figures = self.figures(name, setting, unit)
                rows.append(
                    Row(setting, unit, ours, name, figures, bars.get((setting, unit, name)))
                )
        return rows


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rounded(figures: Figures) -> dict[str, float]:
    median, low, high = (float(f"{value:.4g}") for value in figures)
    return {"median": median, "min": low, "max": high}
