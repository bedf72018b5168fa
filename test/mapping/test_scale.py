"""Scale and the frame of reference poses, on poses whose truth is known exactly."""

from itertools import pairwise

import numpy as np
import pytest
from unscaled import MAP_FROM_SFM, in_sfm, names_of, path_in_sfm

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.mapping.placement import scale_from_odometry
from visloc_ros.mapping.scale import align_to_references, scale_to_distance
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import BagWriter, encode_frames
from visloc_ros.sources.measurements import WheelOdometry, measurements_of


class TestReferences:
    def test_the_similarity_is_found_exactly(self, scene):
        found = align_to_references(in_sfm(scene.poses), names_of(scene.poses))
        assert found.scale == pytest.approx(2.5)
        assert rotation_angle_deg(found.rotation, MAP_FROM_SFM.rotation) < 1e-6
        assert np.allclose(found.translation, MAP_FROM_SFM.translation)

    def test_three_known_poses_are_enough(self, scene):
        known = dict(list(names_of(scene.poses).items())[2:5])
        found = align_to_references(in_sfm(scene.poses), known)
        assert found.scale == pytest.approx(2.5)
        with pytest.raises(MapError, match="2 map images"):
            align_to_references(in_sfm(scene.poses), dict(list(known.items())[:2]))

    def test_a_straight_path_is_no_problem(self):
        rng = np.random.default_rng(0)
        line = [SE3(rotation_matrix([0.0, 0.1 * x, 0.0]), np.array([x, 0.0, 0.0])) for x in range(10)]
        noisy = {
            name: SE3(pose.rotation, pose.translation + rng.normal(0, 1e-3, 3)) for name, pose in names_of(line).items()
        }
        found = align_to_references(in_sfm(line), noisy)
        assert rotation_angle_deg(found.rotation, MAP_FROM_SFM.rotation) < 1e-6
        assert found.scale == pytest.approx(2.5, rel=1e-3)

    def test_poses_of_another_body_are_refused(self, scene):
        rng = np.random.default_rng(0)
        turned = {
            name: SE3(rotation_matrix(rng.normal(0, 2, 3)), pose.translation)
            for name, pose in names_of(scene.poses).items()
        }
        with pytest.raises(MapError, match="turn differently"):
            align_to_references(in_sfm(scene.poses), turned)

    def test_poses_that_do_not_move_are_refused(self, scene):
        still = {name: SE3(pose.rotation, np.ones(3)) for name, pose in names_of(scene.poses).items()}
        with pytest.raises(MapError, match="do not move"):
            align_to_references(in_sfm(scene.poses), still)


class TestDistance:
    def test_the_distance_between_two_images_becomes_the_given_one(self, scene):
        poses = in_sfm(scene.poses)
        scaled = scale_to_distance(poses, 12.0, "image1", "image7")
        moved = [scaled.apply_to_pose(poses[name]).translation for name in ("image1", "image7")]
        assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(12.0)

    def test_first_and_last_are_the_default(self, scene):
        poses = in_sfm(scene.poses)
        true = float(np.linalg.norm(scene.poses[-1].translation - scene.poses[0].translation))
        assert scale_to_distance(poses, true).scale == pytest.approx(2.5)

    def test_an_unknown_image_is_named(self, scene):
        with pytest.raises(MapError, match="'image99'"):
            scale_to_distance(in_sfm(scene.poses), 1.0, "image99")

    def test_one_place_has_no_distance(self, scene):
        with pytest.raises(MapError, match="same place"):
            scale_to_distance(in_sfm(scene.poses), 1.0, "image3", "image3")


BASE_FROM_CAMERA = SE3([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0.6, 0.1, 0.8])
STEP_NOISE, DRIFT_DEG = 0.08, 0.02  # of the length of a 50 ms step, and per step


def drifting(map_from_base, seed=0):
    """Odometry of a robot: true increments with noise in length, and a heading that drifts away."""
    rng = np.random.default_rng(seed)
    poses = [SE3.identity()]
    for before, after in pairwise(map_from_base):
        step = before.inverse @ after
        length = 1.0 + rng.normal(0.0, STEP_NOISE)
        turned = rotation_matrix([0.0, 0.0, np.radians(DRIFT_DEG)])
        poses.append(poses[-1] @ SE3(step.rotation @ turned, length * step.translation))
    return poses


def drive(duration_s, rate_hz, curve=0.4):
    """Poses of a base that drives 0.5 m/s in slow curves."""
    seconds = np.arange(0.0, duration_s, 1.0 / rate_hz)
    heading = curve * np.sin(0.5 * seconds)
    places = np.cumsum(np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1) * 0.5 / rate_hz, axis=0)
    return seconds, [SE3(rotation_matrix([0, 0, a]), p) for a, p in zip(heading, places, strict=True)]


def as_trajectory(seconds, poses):
    return Trajectory(np.round(seconds * NANOSECONDS).astype(np.int64), tuple(poses))


def camera_path(seconds, bases):
    """Registered images, four a second, in the frame of the reconstruction."""
    every = slice(None, None, 5)
    return path_in_sfm(seconds[every], [base @ BASE_FROM_CAMERA for base in bases[every]])


class TestBag:
    @pytest.fixture
    def bag(self, tmp_path):
        """A walk through the simulated room, the odometry at 20 Hz beside a few images."""
        walk = simulate(SimulationConfig(width=64, height=48, duration_s=16.0, rate_hz=20.0, samples=1))
        path = tmp_path / "walk"
        camera_from_base = BASE_FROM_CAMERA.inverse
        odometry = drifting([pose @ camera_from_base for pose in walk.ground_truth.poses])
        with BagWriter(path) as writer:
            writer.write_tf("/tf_static", walk.stamp_ns(0), "base_link", "camera", BASE_FROM_CAMERA)
            for index, odom_from_base in enumerate(odometry):
                writer.write_odometry("/odom", walk.stamp_ns(index), "odom", "base_link", odom_from_base)
            for frame in encode_frames([walk.frame(0), walk.frame(1)]):
                writer.write_camera_info("/camera/camera_info", frame.stamp_ns, "camera", frame.camera)
                writer.write_compressed_image("/camera/image/compressed", frame.stamp_ns, "camera", frame.data)
        return path, walk.ground_truth

    def test_noise_and_drift_cancel_over_short_steps(self, bag):
        path, truth = bag
        odometry = measurements_of(open_source(path, SourceConfig(odometry_topic="/odom"))).odometry
        every = slice(None, None, 7)
        registered = Trajectory(truth.stamps_ns[every], tuple(in_sfm(truth.poses[every]).values()))
        found = scale_from_odometry([(registered, odometry)], 1.0)
        assert odometry.is_of_camera
        assert found.scale == pytest.approx(MAP_FROM_SFM.scale, rel=0.02)
        assert abs(found.scale / MAP_FROM_SFM.scale - 1.0) < 3 * found.error < 0.06


class TestLeverArm:
    def test_without_the_cameras_place_turns_are_left_out(self):
        seconds, bases = drive(30.0, 20.0, curve=0.4)
        odometry = WheelOdometry(as_trajectory(seconds, bases), is_of_camera=False)
        found = scale_from_odometry([(camera_path(seconds, bases), odometry)], 1.0)
        assert found.scale == pytest.approx(MAP_FROM_SFM.scale, rel=0.03)

    def test_only_turns_are_not_enough(self):
        seconds, bases = drive(30.0, 20.0, curve=4.0)
        path = camera_path(seconds, bases)
        with pytest.raises(MapError, match="without turning"):
            scale_from_odometry([(path, WheelOdometry(as_trajectory(seconds, bases), is_of_camera=False))], 1.0)

    def test_with_the_cameras_place_turns_count(self):
        seconds, bases = drive(30.0, 20.0, curve=4.0)
        cameras = as_trajectory(seconds, [base @ BASE_FROM_CAMERA for base in bases])
        found = scale_from_odometry([(camera_path(seconds, bases), WheelOdometry(cameras, is_of_camera=True))], 1.0)
        assert found.scale == pytest.approx(MAP_FROM_SFM.scale, rel=1e-3)


class TestRobustness:
    def test_slipping_wheels_are_shrugged_off(self):
        seconds, bases = drive(40.0, 20.0)
        slipped = list(bases)
        for begin in (100, 300, 500):
            slip = SE3(np.eye(3), bases[begin].rotation @ [1.5, 0.0, 0.0])
            slipped[begin:] = [slip @ pose for pose in slipped[begin:]]
        odometry = WheelOdometry(as_trajectory(seconds, [b @ BASE_FROM_CAMERA for b in slipped]), is_of_camera=True)
        found = scale_from_odometry([(camera_path(seconds, bases), odometry)], 1.0)
        assert found.scale == pytest.approx(MAP_FROM_SFM.scale, rel=0.01)

    def test_two_recordings_count_together(self):
        seconds, bases = drive(4.0, 20.0)
        odometry = WheelOdometry(as_trajectory(seconds, [b @ BASE_FROM_CAMERA for b in bases]), is_of_camera=True)
        one = (camera_path(seconds, bases), odometry)
        assert scale_from_odometry([one, one], 1.0).scale == pytest.approx(MAP_FROM_SFM.scale, rel=1e-3)
        with pytest.raises(MapError, match="measures 3 steps"):
            scale_from_odometry([one], 1.0)

    def test_odometry_of_another_time_is_refused(self):
        seconds, bases = drive(30.0, 20.0)
        later = WheelOdometry(as_trajectory(seconds + 1000.0, bases), is_of_camera=True)
        with pytest.raises(MapError, match="same clock"):
            scale_from_odometry([(camera_path(seconds, bases), later)], 1.0)

    def test_odometry_is_not_interpolated_over_a_pause(self):
        seconds, bases = drive(30.0, 20.0)
        kept = np.r_[0:2, len(seconds) - 2 : len(seconds)]
        sparse = WheelOdometry(as_trajectory(seconds[kept], [bases[i] for i in kept]), is_of_camera=True)
        with pytest.raises(MapError, match="measures 0 steps"):
            scale_from_odometry([(camera_path(seconds, bases), sparse)], 1.0)
