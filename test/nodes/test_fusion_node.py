"""The fusion node fed with exact messages over DDS: what it sends, and when it sends nothing."""

from dataclasses import replace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from fusion_probe import (
    BEGIN_NS,
    FRAME_NS,
    map_from_base,
    map_from_camera,
    odom_from_camera,
    parameters,
    running,
    stamp_of,
)
from nav_msgs.msg import Path
from sensor_msgs.msg import NavSatFix
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import LocalizationStatus, OdometryStatus
from visloc_ros.core.coordinate_frame import derived_uuid
from visloc_ros.core.geo_reference import GEO_SIGMA_M, GeoReference
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, OdometryPose, Reason, Rejection, State
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.nodes import conversions
from visloc_ros.nodes.geo_output import GEOID_SIGMA_M
from visloc_ros.nodes.predicted_poses import fused_state
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.sources import ros_messages


def largest_step(poses: dict[int, SE3]) -> float:
    """Largest distance in metres between successive poses."""
    positions = np.array([pose.translation for pose in poses.values()])
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).max())


def largest_true_step(first: int, last: int) -> float:
    return largest_step({index: map_from_base(index) for index in range(first, last)})


def test_exact_messages_give_exact_transforms_at_the_images_stamps(ros_domain):
    """``map -> odom`` is dated ahead; a planner takes the z axis of odom for up, however the camera is mounted."""
    with running(*parameters(transform_tolerance=0.2)) as setup:
        setup.probe.on_earth = GeoReference(55.7, 13.2, 60.0)
        setup.localize(80, anchors=(0, 20, 40, 60))
        probe, last = setup.probe, stamp_of(79)
        assert (probe.statuses[-1].state, probe.statuses[-1].metric) == (LocalizationStatus.LOCALIZED, True)
        corrections, bases = probe.edge("map", "odom"), probe.edge("odom", "base_link")
        assert {(parent, child) for _, parent, child, _ in probe.transforms} == {("map", "odom"), ("odom", "base_link")}
        stamps = {stamp_of(index) for index in range(80)}
        assert all(stamp - 200_000_000 in stamps for stamp in corrections)
        assert all(stamp in stamps for stamp in bases)
        assert (list(corrections.values())[-1] @ bases[last]).is_close(map_from_base(79), 0.01, 0.1)
        assert next(iter(corrections.values())).is_close(SE3.identity(), 1e-6, 1e-6)
        begin, odom_from_base = next(iter(bases.items()))
        assert odom_from_base.is_close(map_from_base((begin - BEGIN_NS) // FRAME_NS), 0.01, 0.1)
        for messages, pose in ((probe.poses, map_from_base(79)), (probe.camera_poses, map_from_camera(79))):
            setup.wait_for(
                lambda messages=messages: ros_messages.stamp_from_msg(messages[-1].header.stamp) == last,
                "the last pose",
            )
            assert ros_messages.pose_from_msg(messages[-1].pose.pose).is_close(pose, 0.01, 0.1)
            assert np.linalg.eigvalsh(ros_messages.covariance_from_msg(messages[-1].pose))[0] > 0
        assert_velocity_is_true(probe.odoms, 79)
        assert_fix_is_true(probe.fixes[-1], probe.poses[-1], 79)


def assert_fix_is_true(fix, pose, index):
    """The fix is the pose of a frame on the earth; its errors are those of the pose, the map and the sea's level."""
    assert fix.header == Header(stamp=pose.header.stamp, frame_id="base_link")
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    place = [fix.latitude, fix.longitude, fix.altitude]
    found = EnuFrame(55.7, 13.2, 60.0).from_geodetic(place)[0]
    np.testing.assert_allclose(found, map_from_base(index).translation, atol=0.01)
    of_pose = np.array(pose.pose.covariance).reshape(6, 6)[:3, :3]
    expected = of_pose + np.diag([GEO_SIGMA_M**2, GEO_SIGMA_M**2, (2 * GEO_SIGMA_M) ** 2 + GEOID_SIGMA_M**2])
    np.testing.assert_allclose(np.array(fix.position_covariance).reshape(3, 3), expected, atol=1e-6)


def assert_velocity_is_true(odoms, index):
    """The velocity of the last message is that of a frame, and the covariance has grown."""
    step = map_from_base(index - 1).inverse @ map_from_base(index)
    linear, expected = odoms[-1].twist.twist.linear, step.translation / (FRAME_NS / 1e9)
    np.testing.assert_allclose([linear.x, linear.y, linear.z], expected, atol=0.05 * np.linalg.norm(expected))
    first, last = (np.array(one.pose.covariance).reshape(6, 6) for one in (odoms[0], odoms[-1]))
    assert covariance_fault(first) is None
    assert np.all(np.diag(last) > np.diag(first))


def test_the_log_says_once_that_there_is_no_time_for_each_second_frame(ros_domain, capfd):
    """Without a measured velocity no pose is predicted: the state changes with each frame."""
    with running() as setup:
        setup.localize()
        capfd.readouterr()
        states = set()
        for index in range(56, 104, 16):  # longer apart than a pose is carried on
            for status in (setup.send_frame(index), setup.send_loss(index + 8, Reason.OVERLOADED)):
                states.add((status.state, status.reason))
        assert states == {(LocalizationStatus.LOCALIZED, ""), (LocalizationStatus.DEGRADED, "OVERLOADED")}
    assert capfd.readouterr().err.count("OVERLOADED") == 1


def test_late_subscribers_receive_the_whole_path(ros_domain):
    with running() as setup:
        setup.localize()
        paths: list[Path] = []
        setup.probe.create_subscription(Path, "odom_path", paths.append, RELIABLE)
        setup.wait_for(lambda: paths, "path")
        way = setup.probe.edge("odom", "base_link")
        assert [ros_messages.stamp_from_msg(pose.header.stamp) for pose in paths[-1].poses] == list(way)
        assert paths[-1].header.frame_id == "odom"
        for message, pose in zip(paths[-1].poses, way.values(), strict=True):
            assert ros_messages.pose_from_msg(message.pose).is_close(pose, 1e-9, 1e-6)


def test_nothing_is_sent_before_a_true_fix(ros_domain):
    with running() as setup:
        setup.probe.send_mounting()
        for index in range(30):
            status = setup.send_frame(index)
            if index % 5 == 0:
                rejection = Rejection(stamp_of(index), Reason.FEW_MATCHES, {"matches": 3})
                setup.probe.send_result(rejection)
        setup.settle()
        assert status.state == LocalizationStatus.INITIALIZING
        assert (status.age_s, status.distance_since_fix, status.position_sigma) == (-1.0, -1.0, -1.0)
        assert status.support == LocalizationStatus.SUPPORT_NONE
        assert setup.probe.transforms == []
        assert setup.probe.poses == setup.probe.camera_poses == setup.probe.search_priors == setup.probe.odoms == []


def test_without_the_cameras_mounting_there_is_a_reason_and_no_transform(ros_domain):
    with running() as setup:
        for index in range(40):
            status = setup.send_frame(index)
            if index in (5, 15, 25):
                setup.send_anchor(index - 5)
        assert (status.state, status.reason) == (LocalizationStatus.INITIALIZING, Reason.NO_TRANSFORM.value)
        assert setup.probe.transforms == setup.probe.poses == []
        assert fused_state(status).state is State.LOCALIZED  # the camera is: its searches rest as ever


def test_a_bare_camera_is_its_own_base(ros_domain):
    with running(*parameters(base_frame="camera")) as setup:
        setup.localize()
        last = setup.probe.edge("odom", "camera")[stamp_of(49)]
        assert last.is_close(map_from_camera(49), 0.01, 0.1)


def test_an_image_without_a_frame_does_not_end_the_poses_of_the_next_ones(ros_domain):
    with running(*parameters(base_frame="camera")) as setup:
        setup.localize()
        setup.send_frame(50, frame_id="")
        setup.localize(begin=51)
        assert setup.probe.edge("odom", "camera")[stamp_of(100)].is_close(map_from_camera(100), 0.05, 0.5)


def test_odometry_of_another_node_is_corrected_at_the_frames_own_stamps(ros_domain):
    """With ``publish_odom_to_base_tf`` false, odom is another node's frame: its own origin, its own stamps, late."""
    other = SE3.from_rotation_vector([0.0, 0.0, -0.8], [7.0, 3.0, 0.0])
    with running(*parameters(publish_odom_to_base_tf="false")) as setup:
        setup.wait_for(setup.probe.tf.get_subscription_count, "subscription of /tf")
        for index in range(60):
            halfway = map_from_base(index).interpolate(map_from_base(index - 1), 0.5)
            late = conversions.transform_to_msg(stamp_of(index) - FRAME_NS // 2, "odom", "base_link", other @ halfway)
            setup.probe.tf.publish(TFMessage(transforms=[late]))
            if index == 0:
                setup.probe.send_mounting()
            setup.send_frame(index)
            if index in (5, 25, 45):
                setup.send_anchor(index - 5)
        setup.settle()
        corrections = list(setup.probe.edge("map", "odom").values())
        assert len(corrections) > 20
        assert all(one.is_close(other.inverse, 0.02, 0.2) for one in corrections[5:])


def test_odom_never_jumps_when_the_place_is_sought_again(ros_domain):
    with running() as setup:
        setup.localize()
        answer = setup.relocalize()
        assert answer.success
        assert "forgot" in answer.message
        before = len(setup.probe.edge("map", "odom"))
        for index in range(50, 60):
            assert setup.send_frame(index).state == LocalizationStatus.INITIALIZING
        setup.settle()
        assert len(setup.probe.edge("map", "odom")) == before
        setup.localize(begin=60)
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED
        odom = setup.probe.edge("odom", "base_link")
        assert set(odom) >= {stamp_of(index) for index in range(50, 110)}
        assert largest_step(odom) < 1.5 * largest_true_step(30, 110)


def test_odom_never_jumps_when_another_map_is_loaded(ros_domain):
    with running() as setup:
        setup.localize()
        states = {}
        for index in range(50, 100):
            states[index] = setup.send_frame(index).state
            if index == 55:
                setup.send_map(setup.probe.map_of("other room"))
            if index - 5 in (50, 70, 90):
                setup.send_anchor(index - 5, map_name="other room")
        setup.settle()
        assert (states[55], states[56]) == (LocalizationStatus.LOCALIZED, LocalizationStatus.INITIALIZING)
        assert states[99] == LocalizationStatus.LOCALIZED
        assert setup.probe.statuses[-1].map_name == "other room"
        assert setup.probe.statuses[-1].map_frame_uuid == derived_uuid("other room")
        assert not setup.probe.fixes  # neither map is on the earth
        assert largest_step(setup.probe.edge("odom", "base_link")) < 1.5 * largest_true_step(30, 100)


def test_no_pose_in_the_frame_before_is_published_once_another_map_is_announced(ros_domain):
    with running() as setup:
        setup.localize()
        setup.send_map(setup.probe.map_of("other room"))
        setup.settle()
        counts = len(setup.probe.poses), len(setup.probe.edge("map", "odom")), len(setup.probe.camera_poses)
        for index in range(50, 60):
            setup.send_frame(index)
        setup.settle()
        assert (len(setup.probe.poses), len(setup.probe.edge("map", "odom")), len(setup.probe.camera_poses)) == counts
        announced = setup.probe.maps_in_use[-1]
        assert (announced.name, announced.frame_uuid) == ("other room", derived_uuid("other room"))
        assert ros_messages.stamp_from_msg(announced.header.stamp) == stamp_of(49) + 1


ALIGNED_FROM_MAP = Sim3.from_se3(SE3.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -2.0, 0.5]))


def test_an_aligned_map_moves_poses_and_transforms_at_once(ros_domain):
    with running() as setup:
        setup.localize()
        room = setup.probe.map_of("room")
        setup.send_map(replace(room, frame=room.frame.moved(ALIGNED_FROM_MAP), model_id="aligned"))
        states = [setup.send_frame(index).state for index in range(50, 60)]
        setup.settle()
        assert set(states) == {LocalizationStatus.LOCALIZED}
        expected = {stamp_of(index): ALIGNED_FROM_MAP.apply_to_pose(map_from_base(index)) for index in range(50, 60)}
        poses = {ros_messages.stamp_from_msg(one.header.stamp): one.pose.pose for one in setup.probe.poses[-10:]}
        assert poses.keys() == expected.keys()
        for stamp_ns, pose in poses.items():
            assert ros_messages.pose_from_msg(pose).is_close(expected[stamp_ns], 0.02, 0.2)
        edges = setup.probe.edge("map", "odom")
        last_before_ns = stamp_of(49) + NANOSECONDS // 10
        after = {stamp_ns: pose for stamp_ns, pose in edges.items() if stamp_ns > last_before_ns}
        assert min(after) == last_before_ns + 1  # nothing is interpolated between the frames
        odom = setup.probe.edge("odom", "base_link")
        for stamp_ns in expected.keys() & after.keys():
            assert (after[stamp_ns] @ odom[stamp_ns]).is_close(expected[stamp_ns], 0.02, 0.2)


def test_a_map_that_was_not_requested_is_refused_and_said(ros_domain):
    with running() as setup:
        setup.localize()
        setup.probe.send_map(setup.probe.map_of("room of the parameter"), is_requested=False)
        setup.wait_for(lambda: setup.node._refused_map, "refusal")
        assert setup.send_frame(50).state == LocalizationStatus.LOCALIZED
        level, words, _ = setup.node._report()
        assert (level, "load one of them with load_map" in words) == ("error", True)
        setup.probe.send_map(setup.probe.map_of("room"), is_requested=False)
        setup.wait_for(lambda: not setup.node._refused_map, "the map in use again")


@pytest.mark.parametrize("node_too", [False, True])
def test_odom_never_jumps_when_odometry_restarts_elsewhere(ros_domain, node_too):
    """A new segment has an origin, an attitude and a scale of its own; a new node counts its segments from 0, too."""
    renewed = Sim3.from_se3(SE3.from_rotation_vector([1.0, -0.5, 0.3], [50.0, 0.0, 9.0]), scale=0.4)
    with running() as setup:
        setup.localize()
        for index in range(50, 60):
            setup.send_loss(index)
        if node_too:
            setup.probe.frames_received = 0
        for index in range(60, 110):
            setup.send_frame(index, segment=0 if node_too else 1, camera=renewed.apply_to_pose(odom_from_camera(index)))
            if index - 5 in (60, 80, 100):
                setup.send_anchor(index - 5)
        setup.settle()
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED
        odom = setup.probe.edge("odom", "base_link")
        assert largest_step(odom) < 1.5 * largest_true_step(30, 110)
        map_from_odom = list(setup.probe.edge("map", "odom").values())[-1]
        assert (map_from_odom @ odom[stamp_of(109)]).is_close(map_from_base(109), 0.02, 0.2)


def test_a_correction_is_slewed_and_its_raw_value_reported(ros_domain):
    with running() as setup:
        setup.localize()
        for index in range(50, 54):
            setup.send_frame(index)
            setup.send_anchor(index, shift=0.15)
        setup.send_frame(54)
        setup.settle()
        raw = ros_messages.transform_from_msg(setup.probe.raw[-1].transform)
        sent = setup.probe.edge("map", "odom")
        names = (setup.probe.raw[-1].header.frame_id, setup.probe.raw[-1].child_frame_id)
        assert names == ("map", "odom")
        assert raw.translation[0] > 0.03
        assert largest_step(sent) <= 0.3 * FRAME_NS / 1e9 + 1e-3
        assert list(sent.values())[-1].translation[0] < raw.translation[0]


def test_how_each_anchor_met_its_prediction_is_reported(ros_domain):
    with running() as setup:
        setup.localize()
        setup.send_anchor(49)
        setup.send_anchor(48, shift=3.0)
        setup.send_frame(50)
        innovations = setup.probe.innovations
        setup.wait_for(lambda: len(innovations) > 1 and not innovations[-1].accepted, "innovation of the wrong anchor")
        right, wrong = innovations[-2:]
        assert [ros_messages.stamp_from_msg(one.header.stamp) for one in (right, wrong)] == [stamp_of(49), stamp_of(48)]
        assert (right.source, right.accepted, wrong.source) == ("anchor", True, "anchor")
        assert right.squared < 1.0 < 100.0 < wrong.squared
        np.testing.assert_allclose(wrong.error[:3], [3.0, 0.0, 0.0], atol=0.02)


def test_followed_map_points_carry_the_pose_between_anchors(ros_domain):
    with running(*parameters(fusion__state__degraded_age_s=1.0, fusion__state__lost_age_s=1.25)) as setup:
        setup.localize()
        for index in range(50, 90):
            status = setup.send_frame(index)
            setup.probe.send_tracked(index, anchor_index=40)
            setup.wait_for(lambda count=index - 49: setup.estimator.tracked_counts.get("ACCEPTED") == count, "verdict")
        assert status.support == LocalizationStatus.SUPPORT_MAP_TRACKING
        assert status.state == LocalizationStatus.DEGRADED  # for so long no anchor has checked the points
        assert status.position_sigma < 0.1


def test_impossible_messages_are_counted_and_change_nothing(ros_domain):
    """Nor does one renumber segments, whose count of frames is that of a node started again."""
    with running() as setup:
        setup.localize()
        before = setup.probe.statuses[-1]
        setup.probe.send_result(AnchorPose(BEGIN_NS, map_from_camera(0), np.full((6, 6), np.nan), 100, 150, 0.5))
        setup.probe.odometry.publish(
            OdometryStatus(header=conversions.header(stamp_of(50), "camera"), reason="BECAUSE")
        )
        broken = conversions.odometry_status_to_msg(OdometryPose(stamp_of(50), odom_from_camera(50), 0, 100), "camera")
        broken.frames_received, broken.pose.pose.position.x = 1, float("nan")
        setup.probe.odometry.publish(broken)
        setup.wait_for(lambda: setup.node.guard.refused == {"anchor": 1, "odometry_status": 2}, "refusals")
        status = setup.send_frame(51)
        assert status.state == before.state == LocalizationStatus.LOCALIZED
        assert status.anchors_accepted == before.anchors_accepted


def test_a_looped_bag_starts_again(ros_domain):
    with running() as setup:
        setup.localize()
        assert setup.send_frame(0).state in (LocalizationStatus.UNINITIALIZED, LocalizationStatus.INITIALIZING)
