"""Fixes of satellites and headings of a compass become hints in maps on the earth, and nothing elsewhere."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import Point
from node_harness import COMPRESSED, DEMO_MAP, given, jpeg_msg, localize_request, started
from sensor_msgs.msg import Imu, NavSatFix
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import Anchor
from visloc_msgs.srv import Localize
from visloc_ros.core.geo_reference import GEO_SIGMA_M
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.manifest import Manifest, read_manifest, write_manifest
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.types import AnchorPose, MapIdentity, Rejection
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.nodes import conversions
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.hint_input import COMPASS_OFFSET, COMPASS_SIGMA, HintInput, rough_pose_from_msg
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources import ros_messages

ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
SECOND = 1_000_000_000
NOW = 100 * SECOND
ORIGIN = {"latitude": 55.7, "longitude": 13.2, "altitude": 60.0}
ON_EARTH = Manifest("site", "photos", {}, metric=True, gravity_aligned=True, geo_origin=ORIGIN)
LEVEL_AHEAD = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
"""base_from_camera of a camera that looks ahead."""


class Sensors:
    """What a node and its callbacks are to the input under test."""

    def __init__(self):
        self.warnings, self._callbacks = [], {}
        self.input = HintInput(self)

    def get_logger(self):
        return self

    def warning(self, text, **_):
        self.warnings.append(text)

    def subscription(self, _, topic, callback, *__, **___):
        self._callbacks[topic] = callback

    def send(self, topic, message):
        self._callbacks[topic](message)

    def send_mount(self):
        transform = conversions.transform_to_msg(0, "compass", "camera", LEVEL_AHEAD)
        self.send("/tf_static", TFMessage(transforms=[transform]))

    def at(self, stamp_ns=NOW, manifest=ON_EARTH):
        return self.input.at(stamp_ns, "camera", manifest)


@pytest.fixture
def sensors():
    return Sensors()


def fix(north_m=0.0, sigma_m=3.0, stamp_ns=NOW, **fields):
    message = NavSatFix(header=conversions.header(stamp_ns, "gnss"), latitude=55.7 + north_m / 111_350.0)
    message.longitude, message.altitude = 13.2, 900.0
    message.position_covariance = np.diag([sigma_m**2, 1.0, 400.0]).ravel().tolist()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def compass(yaw, variance=0.0, stamp_ns=NOW):
    turned = SE3(rotation_matrix([0.0, 0.0, yaw]), np.zeros(3))
    message = Imu(header=conversions.header(stamp_ns, "compass"), orientation=conversions.quaternion_to_msg(turned))
    message.orientation_covariance[8] = variance
    return message


def test_a_fix_is_a_position_without_height(sensors):
    sensors.send("fix", fix(north_m=20.0))
    position = sensors.at().position
    np.testing.assert_allclose(position.position_in_map, [0.0, 20.0], atol=0.05)
    assert position.sigma_m == pytest.approx(np.hypot(3.0, GEO_SIGMA_M))
    assert sensors.at().heading is None
    later = sensors.at(NOW + SECOND).position
    assert later.sigma_m == pytest.approx(np.linalg.norm([3.0, GEO_SIGMA_M, 2.0]))
    assert sensors.at(NOW + 3 * SECOND) is None


def test_a_compass_shows_which_way_the_camera_looks(sensors):
    sensors.send_mount()
    sensors.send("compass", compass(np.pi / 2))
    heading = sensors.at().heading
    assert heading.heading_rad == pytest.approx(np.pi / 2)
    assert heading.sigma_rad == pytest.approx(np.hypot(COMPASS_SIGMA, COMPASS_OFFSET))
    sensors.send("compass", compass(-3.0, variance=0.04, stamp_ns=NOW + SECOND))
    heading = sensors.at(NOW + SECOND).heading
    assert heading.heading_rad == pytest.approx(-3.0)
    assert heading.sigma_rad == pytest.approx(np.hypot(0.2, COMPASS_OFFSET))


def test_a_compass_whose_place_is_not_known_is_counted(sensors):
    sensors.send("compass", compass(0.0))
    assert sensors.at() is None
    assert sensors.input.rejected["compass without transform"] == 1


def test_an_image_located_by_street_views_is_a_position_for_half_a_minute(sensors):
    sensors.send("geo/fix", fix(north_m=20.0, sigma_m=1.0))
    later = sensors.at(NOW + 10 * SECOND).position
    np.testing.assert_allclose(later.position_in_map, [0.0, 20.0], atol=0.05)
    assert later.sigma_m == pytest.approx(np.linalg.norm([1.0, GEO_SIGMA_M, 20.0]))
    assert sensors.at(NOW + 31 * SECOND) is None


def test_of_a_receiver_and_street_views_the_more_exact_position_counts(sensors):
    sensors.send("geo/fix", fix(north_m=20.0, sigma_m=1.0))
    sensors.send("fix", fix(north_m=30.0, sigma_m=3.0))
    np.testing.assert_allclose(sensors.at().position.position_in_map, [0.0, 20.0], atol=0.05)
    sensors.send("fix", fix(north_m=30.0, sigma_m=3.0, stamp_ns=NOW + 5 * SECOND))
    np.testing.assert_allclose(sensors.at(NOW + 5 * SECOND).position.position_in_map, [0.0, 30.0], atol=0.05)


@pytest.mark.parametrize("manifest", [replace(ON_EARTH, geo_origin={}), replace(ON_EARTH, gravity_aligned=False)])
def test_a_map_that_is_not_on_the_earth_gets_no_hint(sensors, manifest):
    sensors.send_mount()
    sensors.send("fix", fix())
    sensors.send("compass", compass(0.0))
    assert sensors.at(manifest=manifest) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"latitude": 91.0},
        {"longitude": float("nan")},
        {"position_covariance": [float("nan")] * 9},
        {"header": conversions.header(0, "gnss")},
    ],
)
def test_a_bad_fix_is_counted(sensors, fields):
    sensors.send("fix", fix(**fields))
    assert sensors.at() is None
    assert sensors.input.rejected["bad fix"] == 1


def test_no_fix_is_none_and_an_unstated_error_is_that_of_a_phone(sensors):
    lost = fix()
    lost.status.status = -1
    sensors.send("fix", lost)
    assert sensors.at() is None
    sensors.send("fix", fix(position_covariance_type=NavSatFix.COVARIANCE_TYPE_UNKNOWN))
    assert sensors.at().position.sigma_m == pytest.approx(np.hypot(GEO_SIGMA_M, GEO_SIGMA_M))
    assert not sensors.input.rejected


def test_an_imu_without_orientation_is_no_compass(sensors):
    message = compass(0.0)
    message.orientation_covariance[0] = -1.0
    sensors.send("compass", message)
    assert sensors.input.rejected["bad compass"] == 1


def test_an_image_is_refused_where_the_fix_is_far_away(tmp_path, ros_domain):
    with unpacked(DEMO_MAP) as room:
        path = shutil.copytree(room, tmp_path / "on_earth")
    write_manifest(path, replace(read_manifest(path), geo_origin=ORIGIN))
    frame, options = ROOM.frame(1), given(f"map_path:={path}", "anchor.matcher.name:=nearest")
    with started(AnchorNode, *options, *COMPRESSED) as harness:
        results = harness.received(Anchor, "anchor")
        (infos, images), fixes = harness.camera(), harness.publisher(NavSatFix, "fix")
        infos.publish(conversions.camera_to_msg(frame.stamp_ns, "camera", frame.camera))
        for count, north_m in enumerate((500.0, 0.0), 1):
            stamp_ns = frame.stamp_ns + 10 * count * SECOND
            fixes.publish(fix(north_m, stamp_ns=stamp_ns))
            harness.wait_for(lambda at=stamp_ns: harness.node._hints.at(at, "camera", ON_EARTH), "the fix")
            images.publish(jpeg_msg(frame.image, stamp_ns))
            harness.wait_for(lambda wanted=count: len(results) == wanted, "an anchor")
        assert_requests_say_where(harness, frame)
    far, near = (ros_messages.anchor_from_msg(one).result for one in results)
    assert isinstance(far, Rejection)
    assert isinstance(near, AnchorPose)
    assert near.map_from_camera.is_close(ROOM.pose(1), 0.05, 1.0)


def assert_requests_say_where(harness, frame):
    """A request that says where the camera is, rightly or not, or says what cannot be."""
    for hint, is_found, words in (
        ({"fix": fix()}, True, ""),
        ({"fix": fix(500.0)}, False, "HINT_EXCLUDES_ALL"),
        ({"position": Point(), "position_sigma": -3.0}, False, "must be positive"),
    ):
        request = localize_request(frame)
        for name, value in hint.items():
            setattr(request, name, value)
        answer = harness.call(Localize, "anchor_node/localize", request)
        assert (answer.anchor.accepted, words in answer.message) == (is_found, True), answer.message


def test_a_request_says_only_what_has_an_error():
    assert rough_pose_from_msg(Localize.Request(position=Point(x=1.0), heading=1.0)) == RoughPose()
    without_height = Localize.Request(position=Point(x=1.0, y=2.0, z=math.nan), position_sigma=3.0)
    assert rough_pose_from_msg(without_height) == RoughPose((1.0, 2.0), position_sigma=3.0)
    whole = Localize.Request(position=Point(z=2.0), position_sigma=3.0, heading=0.5, heading_sigma=0.1)
    hint = rough_pose_from_msg(whole).in_map(MapIdentity("site", metric=True))
    np.testing.assert_array_equal(hint.position.position_in_map, [0.0, 0.0, 2.0])
    assert (hint.heading.heading_rad, hint.heading.sigma_rad) == pytest.approx((0.5, 0.1))


def test_a_request_with_a_fix_and_a_position_or_a_bad_fix_is_refused():
    with pytest.raises(ros_messages.MessageError, match="not both"):
        rough_pose_from_msg(Localize.Request(fix=fix(), position_sigma=3.0))
    with pytest.raises(ros_messages.MessageError, match="no place"):
        rough_pose_from_msg(Localize.Request(fix=fix(latitude=95.0)))
