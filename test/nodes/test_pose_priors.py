"""Hints: from RViz and from the last run; where to look first and what to believe, never an output."""

import json

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from fusion_probe import Setup, map_from_base, map_from_camera, parameters, running, stamp_of
from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_msgs.msg import LocalizationStatus
from visloc_msgs.srv import SetInitialPose
from visloc_ros.core.geometry import SE3
from visloc_ros.fusion.last_pose import LastPose, write_last_pose
from visloc_ros.sources import ros_messages

ELSEWHERE = SE3.from_rotation_vector([0.0, 0.0, 2.0], [-20.0, 15.0, 0.0])


def give(setup: Setup, pose: SE3, **how: object) -> None:
    setup.probe.send_initial_pose(pose, **how)
    setup.settle()


def nothing_is_claimed(setup: Setup) -> bool:
    probe = setup.probe
    return not (probe.poses or probe.camera_poses or probe.edge("map", "odom"))


def test_an_initial_pose_shows_the_search_where_to_begin_and_nobody_else(ros_domain):
    with running() as setup:
        give(setup, map_from_base(0))  # before the camera's frame or its mounting are known
        setup.probe.send_mounting()
        setup.settle()
        for index in range(5):
            assert setup.send_frame(index).state == LocalizationStatus.INITIALIZING
        setup.settle()
        first, last = setup.probe.search_priors[0], setup.probe.search_priors[-1]
        assert first.header.frame_id == "map"
        assert ros_messages.stamp_from_msg(last.header.stamp) == stamp_of(4)
        assert ros_messages.pose_from_msg(first.pose.pose).is_close(map_from_camera(0), 1e-6, 1e-4)
        variances = np.diag(ros_messages.covariance_from_msg(first.pose))
        assert np.all(variances > 0.05**2)  # RViz says nothing about z, roll and pitch, not that they are exact
        assert np.all(np.diag(ros_messages.covariance_from_msg(last.pose))[:3] > variances[:3])
        assert nothing_is_claimed(setup)


def test_a_right_prior_is_used_up_by_the_first_fix(ros_domain):
    with running() as setup:
        setup.send_frame(0)
        setup.probe.send_mounting()
        give(setup, map_from_base(0))
        setup.localize(begin=1)
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED
        count = len(setup.probe.search_priors)
        setup.send_frame(51)
        setup.settle()
        assert len(setup.probe.search_priors) == count


def test_a_wrong_prior_asks_for_more_anchors_but_never_prevails(ros_domain):
    with running() as setup:
        setup.send_frame(0)
        setup.probe.send_mounting()
        give(setup, ELSEWHERE)
        setup.localize(begin=1)
        assert setup.probe.statuses[-1].state == LocalizationStatus.INITIALIZING
        assert nothing_is_claimed(setup)
        setup.localize(begin=51, frames=60, anchors=(0, 10, 20, 30, 40, 50))
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED
        last = ros_messages.pose_from_msg(setup.probe.poses[-1].pose.pose)
        assert last.is_close(map_from_base(110), 0.05, 0.5)


def test_an_initial_pose_that_agrees_changes_nothing_and_one_that_does_not_starts_again(ros_domain):
    with running() as setup:
        setup.localize()
        near = SE3(map_from_base(49).rotation, map_from_base(49).translation + np.array([0.4, -0.3, 0.0]))
        give(setup, near)
        assert setup.send_frame(50).state == LocalizationStatus.LOCALIZED
        assert setup.probe.search_priors == []
        give(setup, ELSEWHERE)
        assert setup.send_frame(51).state == LocalizationStatus.INITIALIZING
        setup.wait_for(lambda: setup.probe.search_priors, "search prior")
        assert stamp_of(51) in setup.probe.edge("odom", "base_link")


def test_an_initial_pose_that_cannot_be_used_is_refused(ros_domain):
    with running() as setup:
        setup.probe.send_mounting()
        setup.send_frame(0)
        for frame_id, sigma, x in (("odom", 0.5, 0.0), ("map", np.nan, 0.0), ("map", 0.5, np.nan)):
            give(setup, SE3(np.eye(3), np.array([x, 0.0, 0.0])), frame_id=frame_id, sigma=sigma)
        setup.send_frame(1)
        setup.settle()
        assert setup.probe.search_priors == []
        assert setup.node.guard.refused == {"/initialpose": 3}


def test_relocalize_drops_a_prior_too(ros_domain):
    with running() as setup:
        setup.probe.send_mounting()
        setup.send_frame(0)
        give(setup, ELSEWHERE)
        setup.send_frame(1)
        setup.settle()
        count = len(setup.probe.search_priors)
        assert count
        assert setup.relocalize().success
        setup.send_frame(2)
        setup.settle()
        assert len(setup.probe.search_priors) == count


def test_the_last_pose_is_the_next_runs_prior_in_the_same_map_only(ros_domain, tmp_path):
    options = parameters(state_dir=tmp_path)
    with running(*options) as setup:
        setup.localize()
        assert setup.probe.search_priors == []
    saved = json.loads((tmp_path / "last_pose.json").read_text())
    assert saved["map_name"] == "room"
    assert np.allclose(saved["position"], map_from_base(49).translation, atol=0.02)
    for map_name, count in (("other room", 0), ("room", 1)):
        with running(*options) as setup:
            setup.probe.send_mounting()
            setup.send_frame(0)
            setup.send_anchor(0, map_name=map_name)
            setup.send_frame(1)
            setup.settle()
            assert len(setup.probe.search_priors) == count
            assert nothing_is_claimed(setup)
    prior = ros_messages.pose_from_msg(setup.probe.search_priors[0].pose.pose)
    assert np.allclose(prior.translation, map_from_camera(49).translation, atol=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_pose.json"]


def test_the_last_pose_does_not_override_what_a_person_says(ros_domain, tmp_path):
    write_last_pose(tmp_path, LastPose("room", 1, ELSEWHERE, np.eye(6)))
    with running(*parameters(state_dir=tmp_path)) as setup:
        setup.probe.send_mounting()
        setup.send_frame(0)
        give(setup, map_from_base(0))
        setup.send_frame(1)
        setup.probe.send_anchor(1)
        setup.settle()
        setup.send_frame(2)
        setup.settle()
        prior = ros_messages.pose_from_msg(setup.probe.search_priors[-1].pose.pose)
        assert np.allclose(prior.translation, map_from_camera(0).translation, atol=1e-6)


def test_a_pose_that_was_lost_is_not_saved(ros_domain, tmp_path):
    with running(*parameters(state_dir=tmp_path, fusion__state__lost_age_s=0.01)) as setup:
        setup.localize()
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOST
    assert list(tmp_path.iterdir()) == []


def test_the_service_is_told_whether_the_pose_is_used(ros_domain):
    def ask(message: PoseWithCovarianceStamped) -> SetInitialPose.Response:
        future = client.call_async(SetInitialPose.Request(pose=message))
        setup.wait_for(future.done, "answer")
        return future.result()

    with running() as setup:
        client = setup.probe.create_client(SetInitialPose, "fusion_node/set_initial_pose")
        setup.wait_for(client.service_is_ready, "service")
        setup.mount()
        setup.send_frame(0)
        message = setup.probe.initial_pose_msg(map_from_base(0))
        message.header.frame_id = "odom"
        answer = ask(message)
        assert (answer.success, "'map'" in answer.message) == (False, True)
        message.header.frame_id = "map"
        message.pose.pose.position.x = float("nan")
        assert not ask(message).success
        message.pose.pose.position.x = 1e200
        assert not ask(message).success
        setup.send_frame(1)
        assert not setup.probe.search_priors

        answer = ask(setup.probe.initial_pose_msg(map_from_base(0)))
        assert (answer.success, "search begins there" in answer.message) == (True, True)
        setup.send_frame(2)
        setup.wait_for(lambda: setup.probe.search_priors, "where the search begins")
        first = setup.probe.search_priors[0]
        assert ros_messages.pose_from_msg(first.pose.pose).is_close(map_from_camera(0), 0.05, 2.0)
