"""``visloc track`` over a bag with an IMU and wheels: the scale of the path is known without any truth."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.geometry import SE3, rotation_vector, umeyama
from visloc_ros.core.trajectory import NANOSECONDS, read_tum
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.ros_images import encode_jpeg

# The IMU is mounted as a robot's base is: x ahead, y to the left, z up.
BASE_FROM_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.3]))
SIMULATION = SimulationConfig(
    width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=4.0, samples=1, light="none"
)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """A recording of camera, IMU and wheels, and the true path of the camera."""
    film, path = simulate(SIMULATION, "map"), tmp_path_factory.mktemp("robot") / "bag"
    begin_ns = film.stamp_ns(0)
    with BagWriter(path) as writer:
        writer.write_tf("/tf_static", begin_ns, "base_link", "camera", BASE_FROM_CAMERA)
        writer.write_tf("/tf_static", begin_ns, "base_link", "imu", SE3.identity())
        for seconds in np.arange(0.0, SIMULATION.duration_s, 0.01):
            base, later = (PATHS["map"].pose(t) @ BASE_FROM_CAMERA.inverse for t in (seconds, seconds + 0.01))
            rate = rotation_vector(base.rotation.T @ later.rotation) / 0.01
            stamp_ns = begin_ns + round(seconds * NANOSECONDS)
            writer.write_imu("/imu", stamp_ns, "imu", base.rotation.T @ [0.0, 0.0, 9.81], rate)
            writer.write_odometry("/wheels", stamp_ns, "odom", "base_link", base)
        for frame in film:
            writer.write_camera_info("/camera/camera_info", frame.stamp_ns, "camera", frame.camera)
            jpeg = encode_jpeg(frame.image, 95)
            writer.write_compressed_image("/camera/image/compressed", frame.stamp_ns, "camera", jpeg)
    return path, film.ground_truth


def test_the_scale_is_told_where_wheels_are_named(robot, tmp_path):
    bag, truth = robot
    arguments = ["track", str(bag), "--output", str(tmp_path / "path.tum")]
    plain = CliRunner().invoke(app, arguments)
    told = CliRunner().invoke(app, [*arguments, "--odometry-topic", "/wheels", "--imu-topic", "/imu"])
    assert (plain.exit_code, told.exit_code) == (0, 0), told.output
    assert "m a unit" not in plain.stdout
    found = re.search(r"([\d.]+) m a unit", told.stdout)
    path = read_tum(tmp_path / "path.tum")
    true = [truth.nearest(int(stamp_ns), 1000).translation for stamp_ns in path.stamps_ns]
    assert float(found[1]) == pytest.approx(umeyama(true, path.positions).scale, rel=0.03)


def test_a_topic_that_is_not_there_is_told(robot):
    finished = CliRunner().invoke(app, ["track", str(robot[0]), "--imu-topic", "/imu0"])
    assert finished.exit_code == 1
    assert "no topic /imu0" in str(finished.exception)
