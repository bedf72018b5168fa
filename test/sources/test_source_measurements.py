"""Measurements beside the images, of bags and of EuRoC folders: axes, stamps, and what is broken."""

import numpy as np
import pytest
from source_data import (
    HEIGHT,
    WIDTH,
    camera_info,
    colour_image,
    header,
    make,
    raw_image,
    shared_data,
    write_images,
    write_messages,
)

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.transform_tree import TransformTree
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_measurements import parse_rotation, read_imu
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.measurements import measurements_of
from visloc_ros.sources.ros_images import encode_jpeg

BASE_FROM_MAST = SE3.from_rotation_vector([0, 0, 0.3], [0.2, 0, 1])
MAST_FROM_CAMERA = SE3([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0.1, 0, 0])
BASE_FROM_IMU = SE3.from_rotation_vector([np.pi, 0, 0], [0, 0, 0.1])
ODOM_FROM_BASE = [SE3.from_rotation_vector([0, 0, 0.1 * step], [step, 0, 0]) for step in range(3)]
BOTH = SourceConfig(odometry_topic="/odom", imu_topic="/imu")
SENSOR = """
T_BS:
  data: [{rotation}]
resolution: [64, 48]
camera_model: pinhole
intrinsics: [60.0, 60.0, 31.5, 23.5]
distortion_model: none
distortion_coefficients: []
"""
LEVEL = "1, 0, 0, 0.1, 0, 1, 0, 0.2, 0, 0, 1, 0.3, 0, 0, 0, 1"
CAMERA = "0, 0, 1, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1"  # body_from_camera: z forward, y down
HEADER = "#timestamp [ns],w_x,w_y,w_z,a_x,a_y,a_z\n"
STAMP = 1403638538577829376


def write_bag(path, transforms=True, accelerations=((0.0, 0.0, 9.8), (1.0, 2.0, 9.8))):
    with BagWriter(path) as writer:
        if transforms:
            writer.write_tf("/tf_static", 1, "base_link", "mast", BASE_FROM_MAST)
            writer.write_tf("/tf_static", 1, "mast", "camera", MAST_FROM_CAMERA)
            writer.write_tf("/tf_static", 1, "base_link", "imu", BASE_FROM_IMU)
        for stamp_ns, pose in enumerate(ODOM_FROM_BASE, 1):
            writer.write_odometry("/odom", stamp_ns, "odom", "base_link", pose)
        for stamp_ns, acceleration in enumerate(accelerations, 1):
            writer.write_imu("/imu", stamp_ns, "imu", np.array(acceleration), np.array([0.1, 0.2, 0.3]))
        add_images(writer)
    return path


def add_images(writer):
    camera = camera_from_calibration(WIDTH, HEIGHT, [60, 0, 32, 0, 60, 24, 0, 0, 1])
    for stamp_ns in (1, 2):
        writer.write_camera_info("/camera/camera_info", stamp_ns, "camera", camera)
        writer.write_compressed_image("/camera/image/compressed", stamp_ns, "camera", encode_jpeg(colour_image(0), 90))


def test_odometry_is_that_of_the_camera_where_its_place_is_known(tmp_path):
    odometry = measurements_of(open_source(write_bag(tmp_path / "bag"), BOTH)).odometry
    assert odometry.is_of_camera
    assert odometry.poses.stamps_ns.tolist() == [1, 2, 3]
    for odom_from_camera, odom_from_base in zip(odometry.poses.poses, ODOM_FROM_BASE, strict=True):
        assert odom_from_camera.is_close(odom_from_base @ BASE_FROM_MAST @ MAST_FROM_CAMERA)


def test_odometry_stays_that_of_the_base_without_transforms(tmp_path, caplog):
    config = SourceConfig(odometry_topic="/odom")
    odometry = measurements_of(open_source(write_bag(tmp_path / "bag", transforms=False), config)).odometry
    assert not odometry.is_of_camera
    assert odometry.poses.poses[2].is_close(ODOM_FROM_BASE[2])
    assert "no static transform from 'base_link' to 'camera'" in caplog.text


def test_what_an_imu_shows_is_turned_to_the_cameras_axes(tmp_path):
    measurements = measurements_of(open_source(write_bag(tmp_path / "bag"), BOTH))
    camera_from_imu = (BASE_FROM_MAST @ MAST_FROM_CAMERA).inverse @ BASE_FROM_IMU
    assert measurements.accelerations.stamps_ns.tolist() == [1, 2]
    assert np.allclose(measurements.accelerations.in_camera[1], camera_from_imu.rotation @ [1, 2, 9.8])
    assert measurements.angular_rates.stamps_ns.tolist() == [1, 2]
    assert np.allclose(measurements.angular_rates.in_camera, camera_from_imu.rotation @ [0.1, 0.2, 0.3])


def test_a_rotation_that_is_given_is_used(tmp_path):
    config = SourceConfig(imu_topic="/imu", camera_from_imu="0 1 0 0")
    accelerations = measurements_of(open_source(write_bag(tmp_path / "bag"), config)).accelerations
    assert np.allclose(accelerations.in_camera[1], [1, -2, -9.8])


def test_without_the_rotation_the_imu_is_refused(tmp_path):
    source = open_source(write_bag(tmp_path / "bag", transforms=False), SourceConfig(imu_topic="/imu"))
    with pytest.raises(CalibrationError, match="camera_from_imu"):
        measurements_of(source)


def test_nothing_is_read_that_is_not_named(tmp_path):
    measurements = measurements_of(open_source(write_bag(tmp_path / "bag")))
    assert (measurements.odometry, measurements.accelerations, dict(measurements.geo_positions)) == (None, None, {})


@pytest.mark.parametrize("field", ["odometry_topic", "imu_topic"])
def test_topics_must_be_there_and_of_the_right_type(tmp_path, field):
    bag = write_bag(tmp_path / "bag")
    with pytest.raises(SourceError, match="no topic /other"):
        open_source(bag, SourceConfig(**{field: "/other"}))
    with pytest.raises(SourceError, match="is a sensor_msgs/msg/CameraInfo"):
        open_source(bag, SourceConfig(**{field: "/camera/camera_info"}))


@pytest.mark.parametrize("field", ["odometry_topic", "imu_topic"])
def test_topics_of_what_is_no_bag_are_refused(tmp_path, field):
    with pytest.raises(ConfigError, match=f"{field} names a topic of a bag"):
        open_source(tmp_path, SourceConfig(**{field: "/odom"}))


def test_accelerations_that_are_not_finite_are_refused(tmp_path):
    source = open_source(write_bag(tmp_path / "bag", accelerations=[(0.0, np.nan, 9.8)]), BOTH)
    with pytest.raises(SourceError, match="/imu holds values of linear_acceleration that are not finite"):
        measurements_of(source)


def test_impossible_odometry_is_refused(tmp_path):
    source = open_source(broken_bag(tmp_path / "bag"), SourceConfig(odometry_topic="/odom"))
    with pytest.raises(SourceError, match="/odom holds an impossible pose"):
        measurements_of(source)


def broken_bag(path):
    zero, nan = np.zeros(3), np.full(4, np.nan)
    vector = make("geometry_msgs/msg/Vector3", **dict(zip("xyz", zero, strict=True)))
    pose = make(
        "geometry_msgs/msg/Pose",
        position=make("geometry_msgs/msg/Point", **dict(zip("xyz", zero, strict=True))),
        orientation=make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", nan, strict=True))),
    )
    twist = make("geometry_msgs/msg/Twist", linear=vector, angular=vector)
    odometry = make(
        "nav_msgs/msg/Odometry",
        header=header(5),
        child_frame_id="base_link",
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )
    images = [("/left/camera_info", 1, camera_info(1)), ("/left/image_raw", 2, raw_image(1, colour_image(0)))]
    return write_messages(path, [*images, ("/odom", 3, odometry)])


@pytest.mark.parametrize("text", ["1 0 0", "0 0 0 0", "1 nan 0 0", "1 0 0 north", "2 0 0 0"])
def test_what_is_no_rotation_is_refused(text):
    with pytest.raises(ConfigError, match="quaternion 'w x y z'"):
        parse_rotation(text)


def test_transforms_that_are_not_joined_are_not_made_up():
    transforms = TransformTree()
    transforms.set("a", "b", BASE_FROM_MAST)
    transforms.set("c", "d", BASE_FROM_IMU)
    assert transforms.lookup("a", "c") is None
    assert transforms.lookup("nowhere", "a") is None
    assert transforms.lookup("b", "a").is_close(BASE_FROM_MAST.inverse)
    assert transforms.lookup("nowhere", "nowhere").is_close(SE3.identity())


def test_a_real_imu_in_a_bag_without_transforms():
    bag = shared_data("rosbag2_t265_db3")
    accelerations, _ = read_imu(bag, "/camera/accel/sample", "camera", "1 0 0 0")
    assert len(accelerations.stamps_ns) == 6
    assert np.linalg.norm(accelerations.in_camera.mean(axis=0)) == pytest.approx(9.8, abs=0.5)
    with pytest.raises(CalibrationError, match="no static transform"):
        read_imu(bag, "/camera/accel/sample", "camera", "")


@pytest.mark.parametrize(("topic", "has_rates"), [("/camera/accel/sample", False), ("/camera/gyro/sample", True)])
def test_a_real_sensor_that_measures_half_of_it_gives_only_that(topic, has_rates, caplog):
    accelerations, rates = read_imu(shared_data("rosbag2_t265_db3"), topic, "camera", "1 0 0 0")
    assert (accelerations is None, rates is not None) == (has_rates, has_rates)
    assert "measures no" in caplog.text


def write_recording(root, samples, released=False, imu=LEVEL):
    camera = root / "mav0" / "cam0" / "data" if released else root / "cam0"
    write_images(camera, [f"{STAMP}.png", f"{STAMP + 50_000_000}.png"])
    sensor = root / "mav0" / "imu0" / "sensor.yaml" if released else root / "imu0_sensor.yaml"
    csv = sensor.with_name("data.csv") if released else root / "imu0.csv"
    sensor.parent.mkdir(exist_ok=True)
    sensor.write_text(SENSOR.format(rotation=imu))
    camera_sensor = camera.parent / "sensor.yaml" if released else root / "cam0_sensor.yaml"
    camera_sensor.write_text(SENSOR.format(rotation=CAMERA))
    csv.write_text(HEADER + "\n".join(samples) + "\n")
    return open_source(root)


@pytest.mark.parametrize("released", [False, True])
def test_what_it_shows_is_turned_to_the_cameras_axes(tmp_path, released):
    source = write_recording(tmp_path, [f"{STAMP},0.1,0.2,0.3,1,2,9.8", f"{STAMP + 5},0,0,0,0,0,9.8"], released)
    accelerations, rates = measurements_of(source).accelerations, measurements_of(source).angular_rates
    assert accelerations.stamps_ns.tolist() == [STAMP, STAMP + 5]
    assert np.allclose(accelerations.in_camera, [[-2, -9.8, 1], [0, -9.8, 0]])
    assert rates.stamps_ns.tolist() == [STAMP, STAMP + 5]
    assert np.allclose(rates.in_camera, [[-0.2, -0.3, 0.1], [0, 0, 0]])


def test_a_recording_without_imu_has_none(tmp_path):
    write_recording(tmp_path, [f"{STAMP},0,0,0,1,2,9.8"])
    (tmp_path / "imu0.csv").unlink()
    assert measurements_of(open_source(tmp_path)).accelerations is None


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ([f"{STAMP},0,0,0,1,2"], r"imu0\.csv:2: expected a stamp"),
        ([f"{STAMP},0,0,0,1,2,nan"], r"imu0\.csv:2: expected a stamp"),
        ([f"{STAMP},0,0,0,1,2,up"], r"imu0\.csv:2: not a number"),
        (["now,0,0,0,1,2,3"], r"imu0\.csv:2: not a number"),
        ([f"{STAMP},0,0,0,1,2,3", f"{STAMP},0,0,0,1,2,3"], "do not increase"),
        ([], "holds no IMU samples"),
    ],
)
def test_broken_samples_are_named(tmp_path, samples, complaint):
    source = write_recording(tmp_path, samples)
    with pytest.raises(SourceError, match=complaint):
        measurements_of(source)


def test_an_imu_whose_place_is_not_known_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match=r"imu0_sensor\.yaml has no valid T_BS"):
        write_recording(tmp_path, [f"{STAMP},0,0,0,1,2,3"], imu="1, 2, 3")


def test_a_real_imu_at_rest_shows_gravity_upwards():
    source = open_source(shared_data("euroc_v101_still"))
    accelerations = measurements_of(source).accelerations
    assert len(accelerations.stamps_ns) == len(accelerations.in_camera) > 350
    world_from_camera = source.ground_truth.poses[0].rotation
    up = world_from_camera @ accelerations.in_camera.mean(axis=0)
    assert np.linalg.norm(up) == pytest.approx(9.81, abs=0.2)
    assert np.degrees(np.arccos(up[2] / np.linalg.norm(up))) < 1.0
