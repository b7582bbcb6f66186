"""Medians, ratios and bars."""

from __future__ import annotations

from benchmarks.tools.figures import OURS, Bar, Reading, Readings, percentile


def readings() -> Readings:
    found = Readings()
    for value in (30.0, 10.0, 20.0):
        found.add(OURS, Reading("1 stream", "events/s", value))
    for value in (5.0, 4.0, 100.0):
        found.add("seed", Reading("1 stream", "events/s", value))
    return found


def test_a_row_has_the_ratio_of_the_medians() -> None:
    bars = {("1 stream", "events/s", "seed"): Bar("at_least", 4)}

    (row,) = readings().rows(bars)

    assert row.as_json() == {
        "setting": "1 stream",
        "unit": "events/s",
        "ours": {"median": 20.0, "min": 10.0, "max": 30.0},
        "yardstick": {"name": "seed", "median": 5.0, "min": 4.0, "max": 100.0},
        "ratio": 4.0,
        "bar": "≥ 4x",
        "bar_is_met": True,
    }


def test_a_bar_on_our_own_figure_has_a_row_without_a_yardstick() -> None:
    bars = {("1 stream", "events/s", ""): Bar("at_most", 15, of="ours")}

    own, beside = readings().rows(bars)

    assert (own.yardstick, own.as_json()["bar_is_met"]) == (None, False)
    assert (beside.yardstick, beside.bar) == ("seed", None)


def test_a_setting_that_only_the_yardstick_has_makes_no_row() -> None:
    found = readings()
    found.add("seed", Reading("8 streams", "events/s", 1.0))

    assert [row.setting for row in found.rows({})] == ["1 stream"]


def test_the_largest_of_few_values_is_their_99th_percentile() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
