"""When a loop is believed: enough points, spread over the image, and most of what both cameras should see."""

import numpy as np
import pytest

from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.features.types import Matches
from visloc_ros.odometry.dpvo.frame_points import FramePoints
from visloc_ros.odometry.dpvo.retrieval_loops import measure_loop

INTRINSICS = np.array([300.0, 300.0, 160.0, 120.0], dtype=np.float32)
PLACE_FROM_QUERY = SE3.from_rotation_vector([0.02, 0.1, -0.03], [0.2, 0.05, -0.1])


class RowMatcher:
    """Matches equal rows, up to a number of them."""

    def __init__(self, count):
        self.count = count

    def match(self, a, b):
        rows = np.arange(min(self.count, len(a), len(b)), dtype=np.int32)
        return Matches(np.column_stack((rows, rows)), np.ones(len(rows), np.float32))


def frame(points):
    pixels = points[:, :2] / points[:, 2:] * INTRINSICS[:2] + INTRINSICS[2:] + HALF_PIXEL
    ones = np.ones(len(points), np.float32)
    features = LocalFeatures(pixels.astype(np.float32), ones, np.zeros((len(points), 8)), (320, 240))
    return FramePoints(features, points, INTRINSICS)


def seen_points(count=200, width=1.0, seed=0):
    """Points in the query's camera; those of small ``width`` lie about the middle of the image."""
    rng = np.random.default_rng(seed)
    depths = rng.uniform(2.0, 5.0, count)
    return np.column_stack((width * rng.uniform([-0.4, -0.3], [0.4, 0.3], (count, 2)) * depths[:, None], depths))


def measure(points, matched, wrong=0):
    moved = PLACE_FROM_QUERY @ points
    moved[:wrong] = seen_points(wrong, seed=5)
    return measure_loop(frame(points), frame(moved), RowMatcher(matched))


def test_a_true_loop_is_sure():
    evidence = measure(seen_points(), matched=150)
    assert evidence.is_sure
    assert 150 <= evidence.expected <= 200
    found = evidence.alignment.target_from_source
    np.testing.assert_allclose(found.translation, PLACE_FROM_QUERY.translation, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "matched", "wrong"),
    [
        (seen_points(), 60, 0),  # one picture among much else that is missing
        (seen_points(60), 25, 0),  # too few
        (seen_points(width=0.15), 200, 0),  # all on one small thing
        (seen_points(), 200, 140),  # most matches are wrong
    ],
)
def test_weak_evidence_is_not_believed(points, matched, wrong):
    assert not measure(points, matched, wrong).is_sure


def test_what_lies_outside_the_other_image_is_not_expected():
    points = seen_points(240)
    turned = SE3.from_rotation_vector([0.0, 0.5, 0.0], [0.0, 0.0, 0.0])
    in_place = turned @ points
    pixels = in_place[:, :2] / in_place[:, 2:] * INTRINSICS[:2] + INTRINSICS[2:]
    visible = np.all((pixels > -HALF_PIXEL) & (pixels < np.array([320, 240]) - HALF_PIXEL), axis=1)
    points = np.vstack((points[visible], points[~visible]))  # the matcher matches equal rows
    shown = frame(in_place[visible])
    evidence = measure_loop(frame(points), shown, RowMatcher(300))
    assert shown.count_visible(in_place) == visible.sum() < 200
    assert evidence.expected == visible.sum()


def test_too_few_matches_are_no_evidence():
    assert measure(seen_points(), matched=9) is None


def test_the_words_of_the_evidence_tell_its_numbers():
    assert str(measure(seen_points(), matched=150)).startswith("150 of 150 points agree")
