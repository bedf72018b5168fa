"""The node that locates images by street views, over DDS."""

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_harness import COMPRESSED, given, jpeg_msg, started
from sensor_msgs.msg import Imu, NavSatFix, NavSatStatus
from tagged_street import CAMERA, ORIGIN, FakeDescriber, Street, localizer_of, make_database, photo
from tf2_msgs.msg import TFMessage

from visloc_geo import localizer
from visloc_geo.nodes import answer_output
from visloc_geo.nodes.geo_node import GeoNode
from visloc_geo.orientation import rotation_of
from visloc_ros.core.geometry import SE3
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.nodes.conversions import camera_to_msg, header, quaternion_to_msg
from visloc_ros.nodes.hint_input import HintInput
from visloc_ros.nodes.qos import TF_STATIC
from visloc_ros.sources.ros_messages import stamp_from_msg

HERE, ELSEWHERE = Street.at(0.0, 0.0, 1), Street.at(500.0, 0.0, 7)
TRUTH = SE3(rotation_of(8.0, 3.0), np.array([0.5, 30.0, 0.3]))
FEATURES = [HERE.seen_from(TRUTH, 9), ELSEWHERE.seen_from(SE3(rotation_of(0.0), np.array([500.0, 20.0, 0.0])))]
STAMP_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
OUTPUTS = {"geo/fix": NavSatFix, "geo/compass": Imu, "geo/pose": PoseWithCovarianceStamped}


class WaitingDescriber(FakeDescriber):
    """Counts the images, and describes each only when it may."""

    def __init__(self, features):
        super().__init__(features)
        self.begun, self.may = 0, threading.Event()

    def describe(self, image):
        self.begun += 1
        assert self.may.wait(60.0)
        return super().describe(image)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return make_database(tmp_path_factory.mktemp("geo") / "streets", [HERE])


@pytest.fixture
def describer(monkeypatch):
    """Describes photos without images, by the number in their first pixel: here, and elsewhere."""
    describer = WaitingDescriber(FEATURES)
    describer.may.set()
    monkeypatch.setattr(localizer, "ImageDescriber", lambda *_, **__: describer)
    monkeypatch.setattr(localizer, "make_matcher", lambda *_: NearestMatcher())
    return describer


class Located:
    """A node that locates, its camera, and what it publishes."""

    def __init__(self, harness, camera=CAMERA):
        self.harness = harness
        self.fixes, self.compasses, self.poses = (harness.received(kind, name) for name, kind in OUTPUTS.items())
        self.diagnostics = harness.received(DiagnosticArray, "/diagnostics")
        self._camera, (self._infos, self._images) = camera, harness.camera()
        topics = [f"/visloc/{name}" for name in OUTPUTS]
        harness.wait_for(lambda: all(map(harness.probe.count_publishers, topics)), "topics of the node")

    def show(self, number=0, stamp_ns=STAMP_NS):
        if self._camera is not None:
            self._infos.publish(camera_to_msg(stamp_ns, "camera", self._camera))
        self._images.publish(jpeg_msg(np.full((480, 640, 3), number, np.uint8), stamp_ns))

    def answers(self, count=1):
        self.harness.wait_for(lambda: len(self.fixes) >= count, f"{count} answers")
        return self.fixes

    def reports(self, key, value):
        """Wait for a value in the diagnostics."""

        def found():
            status = [one for array in self.diagnostics for one in array.status]
            return [one for one in status for pair in one.values if (pair.key, pair.value) == (key, value)]

        self.harness.wait_for(found, f"diagnostics with {key}: {value}")


def node_of(database, *more):
    return started(GeoNode, *given(f"database:={database.folder}", "rest_s:=0.0", *more), *COMPRESSED)


def test_an_image_is_located_and_its_place_is_a_hint(database, describer, ros_domain):
    with node_of(database) as harness:
        transforms = harness.received(TFMessage, "/tf_static", TF_STATIC)
        located, hints = Located(harness), HintInput(harness.node)
        located.show()
        harness.wait_for(lambda: located.fixes and located.compasses and located.poses and transforms, "answers")
        harness.wait_for(lambda: hints._fixes[1].at(STAMP_NS) and hints._compasses[1].at(STAMP_NS, "camera"), "hint")
        known, heading = hints._fixes[1].at(STAMP_NS), hints._compasses[1].at(STAMP_NS, "camera")
        level, words = harness.node._output.judge(SimpleNamespace(problem=""))
    (fix,), (pose,) = located.fixes, located.poses
    there = ORIGIN.from_geodetic([[fix.latitude, fix.longitude, fix.altitude]])[0]
    assert np.linalg.norm((there - TRUTH.translation)[:2]) < 0.3
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    assert 0.0 < fix.position_covariance[0] < 1.0
    assert fix.status.status == NavSatStatus.STATUS_FIX
    assert (pose.header.frame_id, fix.header.frame_id) == ("enu", "camera")
    assert pose.pose.pose.position.y == pytest.approx(30.0, abs=0.3)
    assert 0.0 < known.sigma < 1.0
    assert math.degrees(heading.heading_rad) == pytest.approx(90.0 - 8.0, abs=1.0)
    assert (level, words) == ("ok", "1 of the last 1 images located on the earth.")
    (placed,) = transforms[0].transforms
    assert (placed.header.frame_id, placed.child_frame_id) == ("earth", "enu")
    at = placed.transform.translation
    assert (at.x, at.y, at.z) == pytest.approx(ORIGIN.earth_from_enu.translation.tolist())


def test_an_image_of_elsewhere_is_a_fix_without_a_position_and_its_reason_a_diagnosis(database, describer, ros_domain):
    with node_of(database) as harness:
        located, hints = Located(harness), HintInput(harness.node)
        located.show(1)
        (fix,) = located.answers()
        level, words = harness.node._output.judge(SimpleNamespace(problem=""))
        located.reports("NOTHING_ALIKE", "1")
        assert hints._fixes[1].at(STAMP_NS) is None
    assert fix.status.status == NavSatStatus.STATUS_NO_FIX
    assert stamp_from_msg(fix.header.stamp) == STAMP_NS
    assert math.isnan(fix.latitude)
    assert math.isnan(fix.altitude)
    assert not located.poses
    assert level == "warn"
    assert "no view of the database looks like the photo" in words


def test_the_newest_image_is_located_where_they_come_faster(database, describer, ros_domain):
    describer.may.clear()
    with node_of(database) as harness:
        located = Located(harness)
        located.show()
        harness.wait_for(lambda: describer.begun, "first image")
        for later in range(1, 6):
            located.show(0, STAMP_NS + later * SECOND)
        harness.wait_for(lambda: harness.node._input.received == 6, "all images")
        describer.may.set()
        fixes = located.answers(2)
    assert [stamp_from_msg(fix.header.stamp) - STAMP_NS for fix in fixes] == [0, 5 * SECOND]


def test_it_rests_after_an_image_that_is_located(database, describer, ros_domain):
    with node_of(database, "rest_s:=3.0") as harness:
        located = Located(harness)
        for after_s in (0, 1, 2, 3):
            located.show(0, STAMP_NS + after_s * SECOND)
            harness.wait_for(lambda seen=after_s: harness.node._input.received == seen + 1, "image")
            located.answers(1 + (after_s == 3))
    assert [stamp_from_msg(fix.header.stamp) - STAMP_NS for fix in located.fixes] == [0, 3 * SECOND]


def test_a_receiver_makes_the_answer_more_certain(database, describer, ros_domain):
    alone = localizer_of(database, FEATURES).locate(photo())
    receiver = NavSatFix(header=header(STAMP_NS, "gps"), position_covariance_type=NavSatFix.COVARIANCE_TYPE_KNOWN)
    receiver.latitude, receiver.longitude, _ = ORIGIN.to_geodetic(TRUTH.translation)[0].tolist()
    receiver.position_covariance = np.diag([1e-6, 1e-6, 1.0]).ravel().tolist()
    with node_of(database) as harness:
        located = Located(harness)
        harness.publisher(NavSatFix, "fix").publish(receiver)
        harness.wait_for(lambda: harness.node._fixes.at(STAMP_NS), "fix")
        located.show()
        (fix,) = located.answers()
    assert fix.position_covariance[0] < 0.1 * alone.pose.covariance[0, 0]


def test_images_of_an_unknown_camera_are_left_out(database, describer, ros_domain):
    with node_of(database) as harness:
        located = Located(harness, camera=None)
        located.show()
        located.reports("uncalibrated", "1")
    assert not located.fixes


def test_a_missing_database_is_named_with_what_makes_one(tmp_path, describer, ros_domain, capfd):
    for folder, words in ((tmp_path / "none", "make it with 'visloc geo add"), ("", "give the folder")):
        with started(GeoNode, *given(f"database:='{folder}'"), *COMPRESSED, succeeds=False):
            pass
        assert words in capfd.readouterr().err
    (tmp_path / "empty").mkdir()
    with started(GeoNode, *given(f"database:={tmp_path / 'empty'}"), *COMPRESSED, succeeds=False):
        pass
    assert "visloc geo" in capfd.readouterr().err


def test_a_geo_pose_is_published_where_its_package_is_installed(database, describer, ros_domain):
    messages = pytest.importorskip("geographic_msgs.msg", reason="no package registry has it: ROS installations do")
    with node_of(database) as harness:
        poses, located = harness.received(messages.GeoPoseStamped, "geo/geo_pose"), Located(harness)
        harness.wait_for(lambda: harness.probe.count_publishers("/visloc/geo/geo_pose"), "topic")
        located.show()
        (fix,) = located.answers()
        harness.wait_for(lambda: poses, "geo pose")
    assert poses[0].pose.position.latitude == fix.latitude
    assert poses[0].header == fix.header


def test_a_geo_pose_has_latitude_longitude_and_orientation(database):
    """By a message with the fields of GeoPoseStamped, whose package few have."""
    place = SimpleNamespace(latitude=0.0, longitude=0.0, altitude=0.0)
    message = SimpleNamespace(header=None, pose=SimpleNamespace(position=place, orientation=None))
    answer = localizer_of(database, FEATURES).locate(photo())
    filled = answer_output.fill_geo_pose(message, answer, "camera")
    position = filled.pose.position
    assert (position.latitude, position.longitude, position.altitude) == answer.geodetic
    assert filled.pose.orientation == quaternion_to_msg(answer.pose.enu_from_camera)
    assert (filled.header.frame_id, stamp_from_msg(filled.header.stamp)) == ("camera", answer.stamp_ns)
