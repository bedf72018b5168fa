"""The model of acceptance as it is fitted: to poses whose kinds are known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.anchor.acceptance import Trial, consistency, fit, probabilities_held_out, reliability
from testing.integrity import PoseAccuracy
from visloc_ros.localization.acceptance import InlierSupport

RNG = np.random.default_rng(0)


def support(inliers, expected, near, spread, thickness):
    """About these numbers."""
    about = np.exp(RNG.normal(0.0, 0.2, 5))
    total = max(1, round(expected * about[1]))
    few, more = (min(total, max(6, round(count * about[0]))) for count in (inliers, near))
    return InlierSupport(few, 500, more, total, spread * about[2], thickness * about[3])


def trial(family, is_right, *numbers):
    accuracy = PoseAccuracy(0.01, 0.1, 0.01, 0.1, 6.0) if is_right else None
    return Trial("place", family, "group", "image", "matched", support(*numbers), accuracy)


def trials(count=60):
    """Right poses, one of them near the edge of the map; wrong ones that agree by chance, and those of a poster."""
    kinds = (
        (True, 200, 250, 245, 0.13, 0.08),
        (True, 60, 180, 150, 0.12, 0.05),
        (False, 15, 150, 30, 0.05, 0.05),
        (False, 70, 90, 80, 0.04, 0.003),
    )
    return [trial(f"scene {index % 4}", *kind) for kind in kinds for index in range(count)]


def test_it_shows_right_poses_from_those_of_chance_and_of_a_poster():
    planted = trials()
    probabilities = probabilities_held_out(planted)
    right = np.array([one.is_right for one in planted])
    assert np.mean(probabilities[right] > 0.95) > 0.95
    assert np.all(probabilities[~right] < 0.5)
    assert np.mean(probabilities[~right] < 0.05) > 0.95


def test_nothing_good_counts_against_a_pose_whatever_the_trials_say():
    right = PoseAccuracy(0.01, 0.1, 0.01, 0.1, 6.0)
    upside_down = [replace(one, accuracy=None if one.is_right else right) for one in trials()]
    model = fit(upside_down)
    assert min(model.chance[1:]) >= 0.0
    assert min(model.thing[1:]) >= 0.0


def test_probabilities_are_those_of_what_happens():
    """Half of the poses with the same support are right."""
    coins = [trial(f"scene {index % 4}", index % 2 == 0, 60, 150, 120, 0.1, 0.05) for index in range(400)]
    assert np.mean(probabilities_held_out(coins)) == pytest.approx(0.5, abs=0.03)


def test_the_reliability_counts_right_and_wrong_poses_equally():
    right = np.array([True, True, True, False])
    (one,) = reliability(right, np.full(4, 0.8))
    assert (one.low, one.high, one.count) == (0.7, 0.9, 4)
    assert (one.weight, one.predicted, one.happened) == pytest.approx((1.0, 0.8, 0.5))


def test_the_covariances_of_right_poses_of_a_place_are_reported_by_their_mean_squared_errors():
    shown = replace(trial("scene", True, 200, 250, 245, 0.13, 0.08), group="the place")
    assert shown.accuracy is not None
    worse = replace(shown, accuracy=replace(shown.accuracy, nees=12.0))
    wrong = replace(shown, accuracy=replace(shown.accuracy, error_m=9.0))
    assert consistency([shown, worse, wrong, *trials()]).endswith(": place 9.0.")
