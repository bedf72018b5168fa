"""What the fusion makes of an anchor's covariance."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, OdometryPose
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import AnchorNoiseConfig
from visloc_ros.fusion.input_checks import is_valid_anchor
from visloc_ros.fusion.odometry_model.history import OdometryHistory

ANCHOR = AnchorPose(0, SE3.identity(), 1e-2 * np.eye(6), 50, 80, 1.0, map_covariance=7e-3 * np.eye(6))


def fix_of(anchor, config=None):
    config = config or AnchorNoiseConfig(position_floor=1e-6, rotation_floor_deg=1e-6)
    sample = OdometryHistory(60.0, 0.25).append(OdometryPose(0, SE3.identity(), 0, 100))
    return make_fix(sample, anchor, config)


def test_what_anchors_share_is_separated_from_what_each_has_for_itself():
    fix = fix_of(ANCHOR)
    assert np.diag(fix.covariance) == pytest.approx(3e-3)
    assert np.diag(fix.map_covariance) == pytest.approx(7e-3)


def test_an_anchor_without_map_covariance_has_its_covariance_for_itself():
    fix = fix_of(replace(ANCHOR, map_covariance=None))
    assert np.diag(fix.covariance) == pytest.approx(1e-2)
    assert np.diag(fix.map_covariance) == pytest.approx(0.0, abs=1e-9)


def test_a_map_that_states_its_error_is_not_taken_for_worse():
    """A floor would hide how exact it is: it is for anchors of maps whose error nobody stated."""
    wide = AnchorNoiseConfig(position_floor=0.5, rotation_floor_deg=20.0)
    stated, unstated = fix_of(ANCHOR, wide), fix_of(replace(ANCHOR, map_covariance=None), wide)
    assert np.diag(stated.covariance) == pytest.approx(3e-3)
    assert np.diag(stated.map_covariance) == pytest.approx(7e-3)
    assert np.diag(unstated.map_covariance)[:3] == pytest.approx(0.25)
    assert np.diag(unstated.covariance)[:3] == pytest.approx(0.26)


def test_an_anchor_that_is_right_with_half_the_chance_weighs_half_as_much():
    fix = fix_of(replace(ANCHOR, probability=0.5))
    assert np.diag(fix.covariance) == pytest.approx(6e-3)
    assert np.diag(fix.map_covariance) == pytest.approx(7e-3)
    assert fix.risk == 0.5


@pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(probability):
    assert not is_valid_anchor(replace(ANCHOR, probability=probability))


def test_a_part_cannot_be_larger_than_the_whole():
    assert is_valid_anchor(ANCHOR)
    assert not is_valid_anchor(replace(ANCHOR, map_covariance=2e-2 * np.eye(6)))
    assert not is_valid_anchor(replace(ANCHOR, map_covariance=np.full((6, 6), np.nan)))
