"""How much risk a pose may have by how well it fits the map, beside the errors of the map's own points."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.fit_to_map import FitToMap
from visloc_ros.localization.pose import PoseSolution


def risk_share(world, map_px, error_px):
    """That of a pose whose inliers err by ``error_px`` in the median, in a map whose points err by ``map_px``."""
    map_ = replace(world.map, manifest=replace(world.map.manifest, reprojection_error_px=map_px))
    nothing, errors = np.zeros((6, 6)), error_px * np.linspace(0.5, 1.5, 41)
    pose, inliers = SE3(np.eye(3), np.zeros(3)), np.ones(41, bool)
    solution = PoseSolution(pose, nothing, nothing, inliers, errors, map_.images[0].camera, is_by_chance=False)
    return FitToMap(map_, PoseConfig()).risk_share(solution)


@pytest.mark.parametrize(("map_px", "error_px"), [(0.15, 4.4), (0.15, 3.6), (0.6, 3.6)])
def test_a_pose_that_fits_an_exact_map_roughly_may_have_less_risk(world, map_px, error_px):
    assert risk_share(world, map_px, error_px) < 0.5


@pytest.mark.parametrize(("map_px", "error_px"), [(0.15, 0.2), (0.15, 1.6), (0.6, 2.3), (3.4, 4.8)])
def test_a_pose_that_fits_as_well_as_the_map_does_may_have_all_of_it(world, map_px, error_px):
    assert risk_share(world, map_px, error_px) == 1.0


def test_a_map_that_states_no_error_changes_nothing(world):
    assert risk_share(world, 0.0, 6.0) == 1.0
