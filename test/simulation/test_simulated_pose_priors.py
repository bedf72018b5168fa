import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg
from visloc_ros.simulation.corruptions import false_prior, perturbed

POSE = SE3.from_rotation_vector([0.3, 0.1, -0.2], [1.0, -2.0, 0.5])
FAR = SE3(POSE.rotation, POSE.translation + np.array([3.0, 0.0, 0.0]))
NOTHING = LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 8)), (64, 48))


def map_at(*poses):
    images = tuple(MapImage(str(i), pose, None, NOTHING, np.empty(0, np.int32)) for i, pose in enumerate(poses))
    manifest = Manifest("m", "test", {}, metric=True, gravity_aligned=False)
    return Map("m", manifest, images, np.zeros((1, 3)), np.empty((0, 0)), np.empty((0, 0)))


def test_a_perturbed_pose_is_off_by_exactly_the_stated_amounts():
    rng = np.random.default_rng(0)
    poses = [perturbed(POSE, rng, 0.05, 2.0) for _ in range(10)]
    for pose in poses:
        assert position_error(pose, POSE) == pytest.approx(0.05)
        assert rotation_error_deg(pose, POSE) == pytest.approx(2.0)
    assert len({tuple(pose.translation) for pose in poses}) == 10


def test_a_false_prediction_is_never_near_the_truth_where_the_map_reaches_farther():
    place, rng = map_at(POSE, FAR), np.random.default_rng(0)
    assert all(position_error(false_prior(place, rng, POSE), FAR) < 0.2 for _ in range(20))


def test_without_a_truth_a_false_prediction_comes_from_anywhere_in_the_map():
    place, rng = map_at(POSE, FAR), np.random.default_rng(0)
    near_first = [position_error(false_prior(place, rng), POSE) < 0.2 for _ in range(20)]
    assert 0 < sum(near_first) < 20
