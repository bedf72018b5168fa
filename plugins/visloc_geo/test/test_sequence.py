import numpy as np
import pytest

from plugins.visloc_geo.testing.street_views import walk
from visloc_geo.sequence import locate_together
from visloc_geo.solving.types import BestTag, GeoKind, GeoReason, GeoRejection, PhotoPose
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import OdometryPose, Rejection

SIGMA_M, SIGMA_RAD = 0.7, np.deg2rad(1.0)
COVARIANCE = np.diag([SIGMA_M**2] * 3 + [SIGMA_RAD**2] * 3)


def answer(pose, rng, wrong_by=0.0):
    moved = pose.translation + rng.normal(0.0, SIGMA_M, 3) + wrong_by
    turned = rotation_matrix(rng.normal(0.0, SIGMA_RAD, 3)) @ pose.rotation
    tag = BestTag("view", moved, 5.0, 30)
    return PhotoPose(GeoKind.SOLVED, moved, turned, COVARIANCE, tag, np.arange(50), 100, ("view",), 1.0)


def motion_of(poses, scale=2.3, segment=0):
    """The camera's motion without its scale."""
    first_from_enu = poses[0].inverse
    steps = (first_from_enu @ pose for pose in poses)
    return [
        OdometryPose(row, SE3(step.rotation, step.translation / scale), segment, 100) for row, step in enumerate(steps)
    ]


def errors_m(poses, truth):
    return np.array([np.linalg.norm((one - pose.translation)[:2]) for one, pose in zip(poses, truth, strict=True)])


@pytest.fixture
def single_and_track():
    """Errors of single photos and of tracks, of twelve walks of ten photos."""
    single, together = [], []
    for seed in range(12):
        rng, truth = np.random.default_rng(seed), walk(10, 1.0, seed=seed)
        answers = {row: answer(pose, rng) for row, pose in enumerate(truth)}
        track = locate_together(motion_of(truth), answers)
        single.append(errors_m([one.position for one in answers.values()], truth))
        together.append(errors_m([one.enu_from_camera.translation for one in track], truth))
    return np.concatenate(single), np.concatenate(together)


def test_a_track_of_ten_photos_is_better_than_single_photos(single_and_track):
    single, together = single_and_track
    assert np.median(together) <= 0.6 * np.median(single)
    assert np.percentile(together, 90) <= 0.7 * np.percentile(single, 90)


def test_a_wrong_answer_is_rejected_and_a_missing_one_filled_in():
    rng, truth = np.random.default_rng(3), walk(10, 1.0, seed=3)
    answers = {row: answer(pose, rng) for row, pose in enumerate(truth)}
    answers[4] = answer(truth[4], rng, wrong_by=30.0)
    answers[7] = GeoRejection(GeoReason.FEW_MATCHES)
    track = locate_together(motion_of(truth), answers)
    assert [one.has_answer for one in track] == [row not in (4, 7) for row in range(10)]
    assert errors_m([one.enu_from_camera.translation for one in track], truth).max() < 1.5


def test_the_uncertainty_of_a_track_holds():
    squared = []
    for seed in range(20, 32):
        rng, truth = np.random.default_rng(seed), walk(10, 1.0, seed=seed)
        track = locate_together(motion_of(truth), {row: answer(pose, rng) for row, pose in enumerate(truth)})
        for one, pose in zip(track, truth, strict=True):
            error = (one.enu_from_camera.translation - pose.translation)[:2]
            squared.append(error @ np.linalg.solve(one.covariance[:2, :2], error))
    assert 0.2 < np.mean(squared) < 3.0  # 2 is expected; errors of independent photos are less alike than of real ones


def test_two_answers_make_no_track():
    rng, truth = np.random.default_rng(0), walk(10, 1.0)
    answers = {row: answer(truth[row], rng) for row in (2, 8)}
    assert isinstance(locate_together(motion_of(truth), answers), Rejection)


def test_places_of_tags_alone_make_no_track():
    truth, tag = walk(10, 1.0), BestTag("view", np.zeros(3), 5.0, 30)
    known = PhotoPose(GeoKind.TAG, np.zeros(3), None, np.full((6, 6), np.nan), tag, np.arange(50), 100, ("view",), 1.0)
    assert isinstance(locate_together(motion_of(truth), dict.fromkeys(range(10), known)), Rejection)
