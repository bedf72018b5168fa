"""The benchmark in a simulated street: geonavpy's policy beside our own, and how failures are counted."""

from __future__ import annotations

import numpy as np

from plugins.visloc_geo.benchmarks.canyon import answer_of, row, spread
from plugins.visloc_geo.testing.street_canyon import CanyonConfig, TagErrors, simulate_canyon


def test_with_exact_tags_both_find_the_photo() -> None:
    answer = answer_of(simulate_canyon(1, CanyonConfig()), with_geonavpy=True)
    assert answer.own_m < 0.1
    assert answer.geonavpy_m < 0.5
    assert answer.kind == "solved"


def test_with_usual_tags_ours_is_nearer() -> None:
    trials = [simulate_canyon(seed, CanyonConfig(errors=TagErrors(3.0, 2.0, 1.0))) for seed in range(3)]
    answers = [answer_of(trial, with_geonavpy=True) for trial in trials]
    assert np.median([one.own_m for one in answers]) < np.median([one.geonavpy_m for one in answers])
    assert row("level", answers)[-1] == "3 solved"


def test_a_photo_without_a_pose_counts_as_infinitely_far() -> None:
    assert spread([1.0, 2.0, 3.0, np.inf, np.inf]) == "3.00 / none (2)"
    assert spread([1.0, 2.0, 3.0]) == "2.00 / 3.00 (0)"
    assert spread([np.inf]) == "-"
