"""Up from how the camera was held and from an accelerometer, on exactly known motion and on real recordings."""

import numpy as np
import pytest
from unscaled import MAP_FROM_SFM, in_sfm, path_in_sfm

from testing.fusion_scenario import camera_poses
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.mapping.gravity import find_up, level
from visloc_ros.mapping.placement import up_from_accelerations
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import open_source
from visloc_ros.sources.measurements import Accelerations, measurements_of, read_body_from_sensor

AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class TestCamera:
    def level_map(self, poses):
        return level(poses, find_up(list(poses.values())).direction)

    def test_a_level_camera_shows_what_is_up(self, scene):
        levelled = self.level_map(in_sfm(scene.poses)).rotation @ MAP_FROM_SFM.inverse.rotation
        assert np.allclose(levelled @ [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], atol=1e-6)

    def test_the_first_camera_is_the_origin_and_looks_along_x(self, scene):
        poses = in_sfm(scene.poses)
        first = self.level_map(poses).apply_to_pose(poses["image0"])
        assert np.allclose(first.translation, 0.0)
        assert first.rotation[0, 2] > 0.9
        assert abs(first.rotation[1, 2]) < 1e-9

    def test_pitch_does_not_mislead_it_where_the_camera_turns(self):
        pitch = rotation_matrix([np.radians(-25.0), 0.0, 0.0])
        poses = [SE3(rotation_matrix([0.0, 0.0, yaw]) @ AHEAD @ pitch, np.zeros(3)) for yaw in np.linspace(0, 1.2, 8)]
        up = find_up(poses)
        assert up.reliable
        assert np.allclose(up.direction, [0.0, 0.0, 1.0], atol=1e-6)

    def test_without_turning_it_is_a_guess_and_says_so(self):
        up = find_up([SE3(AHEAD, np.array([x, 0.0, 0.0])) for x in range(5)])
        assert not up.reliable
        assert np.isinf(up.error_deg)
        assert np.allclose(up.direction, [0.0, 0.0, 1.0])

    @pytest.mark.parametrize("look", [1.0, -1.0])
    def test_a_camera_that_turns_about_its_viewing_axis_does_not_show_which_side_is_up(self, look):
        """A drone's camera that looks straight down, and one that looks at the ceiling."""
        down = np.diag([1.0, -look, -look])
        poses = [SE3(rotation_matrix([0.0, 0.02, yaw]) @ down, np.zeros(3)) for yaw in np.linspace(-0.6, 0.6, 8)]
        assert find_up(poses) is None

    def test_a_camera_that_rolls_over_shows_nothing(self):
        poses = [SE3(rotation_matrix([0.0, 0.0, roll]), np.zeros(3)) for roll in np.linspace(0, 2 * np.pi, 9)[:8]]
        assert find_up(poses) is None

    @pytest.mark.parametrize("way", ["circle", "eight", "stairs", "stop_and_go", "turns"])
    def test_a_camera_that_is_held_askew_is_as_far_off_as_it_says(self, way):
        """The simulated walker's camera is rolled by 3 degrees all the time, and nods."""
        poses = [SE3(*pose) for pose in zip(*camera_poses(way, np.arange(0.0, 60.0, 0.4), 0.7), strict=True)]
        found = [find_up(poses[start : start + 15]) for start in range(len(poses) - 15)]
        reliable = [up for up in found if up.reliable]
        assert len(reliable) > len(found) / 2
        assert max(off_deg(up, np.array([0.0, 0.0, 1.0])) / up.error_deg for up in reliable) < 1.5

    @pytest.mark.parametrize("count", [15, 25, 40, 50])
    def test_what_it_calls_reliable_is_true_of_a_hand_held_camera(self, shared_data, count):
        folder = shared_data / "7scenes_redkitchen"
        down = np.loadtxt(folder / "gravity_direction.txt")
        poses = read_tum(folder / "groundtruth_tum.txt").poses[::10]
        found = [find_up(poses[start : start + count]) for start in range(len(poses) - count)]
        reliable = [up for up in found if up.reliable]
        assert reliable
        angles = [np.degrees(np.arccos(-up.direction @ down / np.linalg.norm(down))) for up in reliable]
        assert max(angles) < 10.0


GRAVITY = np.array([0.0, 0.0, 9.81])
UP_IN_SFM = MAP_FROM_SFM.rotation.T @ [0.0, 0.0, 1.0]


def carried_imu(duration_s=20.0, rate_hz=100.0, noise=0.1, bias=(0.05, -0.05, 0.03), seed=0):
    """Camera path of somebody who walks around the room, and what an accelerometer in the camera's axes shows."""
    path = PATHS["map"]
    seconds = np.arange(0.0, duration_s, 1.0 / rate_hz)
    step = 1e-3
    before, here, after = ([path.pose(t + shift) for t in seconds] for shift in (-step, 0.0, step))
    rng = np.random.default_rng(seed)
    shown = [
        pose.rotation.T @ ((a.translation - 2 * pose.translation + b.translation) / step**2 + GRAVITY)
        for a, pose, b in zip(before, here, after, strict=True)
    ]
    in_camera = np.array(shown) + bias + rng.normal(0.0, noise, (len(seconds), 3))
    images = seconds[:: int(rate_hz / 4)]
    return path_in_sfm(images, [path.pose(t) for t in images]), make_accelerations(seconds, in_camera)


def make_accelerations(seconds, in_camera):
    return Accelerations(np.round(seconds * NANOSECONDS).astype(np.int64), np.asarray(in_camera))


def off_deg(up, true=UP_IN_SFM):
    return np.degrees(np.arccos(np.clip(up.direction @ true, -1.0, 1.0)))


class TestImu:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_walk_shows_up_within_its_error(self, seed):
        up = up_from_accelerations([carried_imu(seed=seed)], 1.0)
        assert off_deg(up) < 3.0 * up.error_deg < 0.5
        assert (up.reliable, up.source) == (True, "imu")

    def test_a_few_seconds_leave_the_bias_open_and_it_says_so(self):
        up = up_from_accelerations([carried_imu(duration_s=2.0)], 1.0)
        assert off_deg(up) < 3.0 * up.error_deg < 3.0

    def test_knocks_are_dropped(self):
        path, samples = carried_imu()
        knocked = samples.in_camera.copy()
        knocked[400:430] += [300.0, 0.0, 0.0]
        knocked[1500:1510] -= [0.0, 500.0, 200.0]
        assert off_deg(up_from_accelerations([(path, Accelerations(samples.stamps_ns, knocked))], 1.0)) < 1.0

    def test_two_recordings_count_together(self):
        path, samples = carried_imu(duration_s=4.0)
        early, late = (
            Trajectory(path.stamps_ns[part], path.poses[part]) for part in (slice(0, 7), slice(8, len(path)))
        )
        both = up_from_accelerations([(early, samples), (late, samples)], 1.0)
        assert off_deg(both) < 1.0

    def test_samples_between_distant_images_are_left_out(self):
        path, samples = carried_imu()
        kept = [index for index in range(len(path)) if not 20 <= index < 60]
        cut = Trajectory(path.stamps_ns[kept], tuple(path.poses[index] for index in kept))
        hidden = samples.in_camera.copy()
        hidden[520:1480] = 1e6
        assert off_deg(up_from_accelerations([(cut, Accelerations(samples.stamps_ns, hidden))], 1.0)) < 1.0

    def test_a_short_or_foreign_recording_is_refused(self):
        path, samples = carried_imu()
        with pytest.raises(MapError, match="covers 1 half seconds"):
            up_from_accelerations([(Trajectory(path.stamps_ns[:4], path.poses[:4]), samples)], 1.0)
        later = Accelerations(samples.stamps_ns + 10**12, samples.in_camera)
        with pytest.raises(MapError, match="covers 0 half seconds"):
            up_from_accelerations([(path, later)], 1.0)

    @pytest.mark.parametrize(
        "spoil",
        [lambda shown: shown / 9.81, lambda shown: shown - shown.mean(axis=0), lambda shown: shown @ ROLLED.T],
        ids=["in g", "without gravity", "other axes"],
    )
    def test_what_shows_no_gravity_is_refused(self, spoil):
        path, samples = carried_imu()
        with pytest.raises(MapError, match=r"instead of 9\.81"):
            up_from_accelerations([(path, Accelerations(samples.stamps_ns, spoil(samples.in_camera)))], 1.0)

    def test_a_real_imu_at_rest(self, shared_data):
        source = open_source(shared_data / "euroc_v101_still")
        up = up_from_accelerations([(source.ground_truth, measurements_of(source).accelerations)], 1.0)
        assert off_deg(up, np.array([0.0, 0.0, 1.0])) < 1.0

    @pytest.mark.parametrize("spacing", [1, 10])
    def test_the_motion_of_a_real_flight(self, shared_data, spacing):
        """What an IMU with the flight's own biases must have shown, from its true velocities at 200 Hz."""
        root = shared_data / "euroc_mh05"
        rows = np.loadtxt(root / "state_groundtruth_imu.csv", delimiter=",")
        seconds = (rows[:, 0] - rows[0, 0]) / NANOSECONDS
        in_world = np.gradient(rows[:, 8:11], seconds, axis=0) + GRAVITY
        turns = [SE3.from_quaternion(row[4:8], np.zeros(3)).rotation for row in rows]
        in_body = np.array([turn.T @ force for turn, force in zip(turns, in_world, strict=True)]) + rows[:, 14:17]
        in_camera = in_body @ read_body_from_sensor(root / "cam0_sensor.yaml").rotation
        truth = open_source(root).ground_truth
        path = Trajectory(truth.stamps_ns[::spacing], truth.poses[::spacing])
        up = up_from_accelerations([(path, Accelerations(rows[:, 0].astype(np.int64), in_camera))], 1.0)
        assert off_deg(up, np.array([0.0, 0.0, 1.0])) < 0.5


ROLLED = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
