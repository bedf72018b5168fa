"""What is sent of an estimate: where the base is, and what a loss keeps back."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Estimate, Reason, State
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.output import Output, begun_at_base

BASE_FROM_CAMERA = SE3.from_rotation_vector([0.2, -1.2, 0.4], [0.3, 0.1, 0.5])
MAP_FROM_ODOM = SE3.from_rotation_vector([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])
ODOM_FROM_CAMERA = SE3.from_rotation_vector([0.1, 0.0, 0.2], [0.5, 0.0, 0.0])
LOCALIZED = Estimate(
    10**9,
    State.LOCALIZED,
    map_from_odom=MAP_FROM_ODOM,
    odom_from_camera=ODOM_FROM_CAMERA,
    covariance=1e-4 * np.eye(6),
    age_ns=0,
    distance_since_fix=0.0,
)
LOST = replace(LOCALIZED, stamp_ns=2 * 10**9, state=State.LOST, reason=Reason.STALE, age_ns=70 * 10**9)


def test_all_that_is_sent_is_of_the_base():
    sent = Output(BackendConfig()).publish(LOCALIZED, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    assert sent.map_from_odom.is_close(MAP_FROM_ODOM)
    assert sent.odom_from_base.is_close(ODOM_FROM_CAMERA @ BASE_FROM_CAMERA.inverse)
    assert sent.pose.map_from_base.is_close(MAP_FROM_ODOM @ sent.odom_from_base)
    assert sent.odom.odom_from_base.is_close(sent.odom_from_base)
    assert sent.sends_pose
    lever = np.linalg.norm(BASE_FROM_CAMERA.translation)
    assert np.trace(sent.pose.covariance[:3, :3]) == pytest.approx(3e-4 + 2e-4 * lever**2)


@pytest.mark.parametrize(
    ("policy", "sends_correction", "sends_pose"),
    [("stop_tf", False, False), ("hold", True, False), ("inflate", True, True)],
)
def test_what_goes_on_while_lost_is_up_to_the_policy(policy, sends_correction, sends_pose):
    config = BackendConfig(loss_policy=policy)
    output = Output(config)
    output.publish(LOCALIZED, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    sent = output.publish(LOST, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    assert (sent.map_from_odom is not None) is sends_correction
    assert sent.sends_pose is sends_pose
    assert sent.odom_from_base is not None
    assert np.sqrt(np.max(np.diag(sent.pose.covariance)[:3])) >= config.fusion.state.lost_sigma


def test_a_frame_without_a_pose_keeps_the_last_correction_until_a_new_start():
    output = Output(BackendConfig())
    output.publish(LOCALIZED, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    blind = Estimate(2 * 10**9, State.DEGRADED, Reason.FEW_FEATURES)
    assert output.publish(blind, None, BASE_FROM_CAMERA).map_from_odom.is_close(MAP_FROM_ODOM)
    start = Estimate(3 * 10**9, State.INITIALIZING, Reason.SCALE_UNSET)
    assert output.publish(start, None, BASE_FROM_CAMERA).map_from_odom is None
    assert output.publish(blind, None, BASE_FROM_CAMERA).map_from_odom is None


def test_odometry_of_another_node_is_corrected_once_it_has_reached_the_frame():
    others = SE3.from_rotation_vector([0.0, 0.0, 1.0], [7.0, 0.0, 0.0])
    reached: dict[int, SE3] = {}
    output = Output(BackendConfig(publish_odom_to_base_tf=False), reached.get)
    first = output.publish(LOCALIZED, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    assert (first.map_from_odom, first.odom_from_base) == (None, None)
    reached[LOCALIZED.stamp_ns] = others
    later = replace(LOCALIZED, stamp_ns=LOCALIZED.stamp_ns + 10**8)
    second = output.publish(later, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    assert second.map_from_odom.is_close(first.pose.map_from_base @ others.inverse)


def test_the_odom_frame_of_one_source_alone_begins_at_the_base_and_upright_with_it():
    estimate = replace(LOCALIZED, map_from_odom=MAP_FROM_ODOM, odom_from_camera=SE3.identity())
    moved, raw = begun_at_base(estimate, MAP_FROM_ODOM, BASE_FROM_CAMERA)
    assert (moved.odom_from_camera @ BASE_FROM_CAMERA.inverse).is_close(SE3.identity())
    assert moved.map_from_camera.is_close(MAP_FROM_ODOM)
    assert raw.is_close(MAP_FROM_ODOM @ BASE_FROM_CAMERA.inverse)
    nothing, raw = begun_at_base(replace(estimate, map_from_odom=None), None, BASE_FROM_CAMERA)
    assert (nothing.map_from_odom, raw) == (None, None)
