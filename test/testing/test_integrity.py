"""What counts as a wrong answer, and what is told about the attempts."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest

from testing.integrity import (
    IntegrityQuery,
    Outcome,
    PoseAccuracy,
    attempt,
    count_outcomes,
    nearest_misses,
)
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 500, 320, 240])
TRUTH = SE3.from_rotation_vector([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
FEATURES = LocalFeatures(np.zeros((3, 2), np.float32), np.ones(3, np.float32), np.zeros((3, 8), np.float32), (640, 480))


class FakeEngine:
    """Gives the prepared answer and remembers what it was asked."""

    def __init__(self, answer):
        self.map = SimpleNamespace(name="kitchen")
        self.answer = answer

    def localize(self, frame, prior=None, features=None):
        self.asked = (frame, prior, features)
        return self.answer


def found(pose, inliers=30, sigma=0.001):
    pixels = np.random.default_rng(0).uniform([0, 0], [640, 480], (inliers, 2))
    stage_ms = {"matching": 5.0, "pnp": 2.0}
    return AnchorPose(1, pose, sigma**2 * np.eye(6), inliers, 60, 1.5, pixels, np.zeros((inliers, 3)), ("a",), stage_ms)


def refused(inliers=9):
    counts = {"inliers": inliers, "correspondences": 45, "spread": 0.02, "reprojection_error_px": 3.0}
    return Rejection(1, Reason.FEW_INLIERS, counts, {"matching": 4.0})


def query(truth=None, group="elsewhere"):
    return IntegrityQuery(group, Frame(1, np.zeros((480, 640), np.uint8), CAMERA, "x.jpg"), FEATURES, truth)


def off_by(distance=0.0, angle_deg=0.0):
    return TRUTH @ SE3.from_rotation_vector([0, np.radians(angle_deg), 0], [distance, 0, 0])


@pytest.mark.parametrize(
    ("answer", "truth", "outcome"),
    [
        (refused(), None, Outcome.REJECTED),
        (refused(), TRUTH, Outcome.REJECTED),
        (found(TRUTH), TRUTH, Outcome.RIGHT),
        (found(off_by(0.2, 4.0)), TRUTH, Outcome.RIGHT),
        (found(off_by(0.3, 0.0)), TRUTH, Outcome.WRONG),
        (found(off_by(0.0, 6.0)), TRUTH, Outcome.WRONG),
        (found(TRUTH), None, Outcome.WRONG),
        (found(off_by(0.3, 0.0), sigma=0.1), TRUTH, Outcome.WEAK),
        (found(off_by(0.3, 9.0), sigma=0.1), TRUTH, Outcome.WEAK),
        (found(off_by(1.1, 0.0), sigma=1.0), TRUTH, Outcome.WRONG),
        (found(TRUTH, sigma=1.0), None, Outcome.WRONG),
    ],
)
def test_only_a_pose_near_a_known_truth_is_right_and_one_that_says_how_far_off_it_is_weak(answer, truth, outcome):
    assert attempt(FakeEngine(answer), query(truth)).outcome is outcome


def test_the_engine_gets_the_features_and_the_prediction():
    engine, prior, asked = FakeEngine(refused()), off_by(1.0), query()
    attempt(engine, asked, "false", prior)
    assert engine.asked == (asked.frame, prior, FEATURES)


def test_an_attempt_keeps_the_numbers_behind_a_rejection():
    one = attempt(FakeEngine(refused()), query())
    assert (one.place, one.group, one.image, one.prior) == ("kitchen", "elsewhere", "x.jpg", "none")
    assert (one.reason, one.inliers, one.correspondences) == ("FEW_INLIERS", 9, 45)
    assert one.inlier_ratio == pytest.approx(0.2)
    assert (one.spread, one.reprojection_error_px, one.milliseconds) == (0.02, 3.0, 4.0)
    assert np.isnan(one.position_error_m)


def test_an_attempt_keeps_the_numbers_behind_a_pose():
    one = attempt(FakeEngine(found(off_by(0.1, 2.0))), query(TRUTH))
    assert one.reason is None
    assert (one.inliers, one.correspondences, one.reprojection_error_px) == (30, 60, 1.5)
    assert 0.1 < one.spread < 0.3
    assert one.position_error_m == pytest.approx(0.1)
    assert one.rotation_error_deg == pytest.approx(2.0)
    assert one.milliseconds == 7.0


def test_attempts_are_counted_by_group_and_prediction():
    attempts = [
        attempt(FakeEngine(refused()), query(group="walls")),
        attempt(FakeEngine(found(TRUTH)), query(group="walls")),
        attempt(FakeEngine(refused()), query(group="walls"), "false", TRUTH),
        attempt(FakeEngine(found(TRUTH)), query(TRUTH, "own")),
    ]
    walls, walls_misled, own = count_outcomes(attempts)
    assert (walls.group, walls.prior, walls.attempts) == ("walls", "none", 2)
    assert walls.outcomes == {Outcome.REJECTED: 1, Outcome.WRONG: 1}
    assert walls.reasons == {"FEW_INLIERS": 1}
    assert (walls_misled.prior, walls_misled.attempts) == ("false", 1)
    assert own.outcomes == {Outcome.RIGHT: 1}


def test_the_nearest_misses_are_those_elsewhere_with_most_inliers():
    attempts = [
        attempt(FakeEngine(refused(inliers=5)), query()),
        attempt(FakeEngine(refused(inliers=20)), query()),
        attempt(FakeEngine(refused(inliers=40)), query(TRUTH)),
        attempt(FakeEngine(found(TRUTH, inliers=30)), query()),
    ]
    assert [one.inliers for one in nearest_misses(attempts, 2)] == [30, 20]


def test_the_normalised_error_of_one_sigma_along_each_axis_is_the_number_of_axes():
    sigmas = np.array([0.1, 0.2, 0.3, 0.01, 0.02, 0.03])
    pose = SE3(rotation_matrix(sigmas[3:]), sigmas[:3])
    assert PoseAccuracy.of(pose, np.diag(sigmas**2), SE3.identity()).nees == pytest.approx(6.0)
