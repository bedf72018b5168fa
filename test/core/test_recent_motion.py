"""The motion of a body around the stamps of its frames, by their poses."""

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.recent_motion import RecentMotion, unobserved_motion_covariance
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.core.trajectory import NANOSECONDS

FRAME_NS = NANOSECONDS // 20
NOISE = np.array([2e-3] * 3 + [1e-3] * 3)


def pose_at(stamp_ns, swing=0.0):
    """A body that drives and turns, and swings back and forth twice a second."""
    seconds = stamp_ns / NANOSECONDS
    turn = 1.5 * seconds + swing * np.sin(4.0 * np.pi * seconds)
    return SE3(rotation_matrix([0.0, turn, 0.0]), np.array([seconds, swing * np.cos(4.0 * np.pi * seconds), 0.0]))


def motion_of(rng, swing, count=40):
    """What is known after some frames, whose odometry errs at random."""
    motion, drift = RecentMotion(), np.zeros(6)
    for index in range(count):
        drift = drift + rng.normal(size=6) * NOISE
        motion.add(index * FRAME_NS, perturbed(pose_at(index * FRAME_NS, swing), drift))
    return motion, (count - 1) * FRAME_NS


def test_errors_at_any_stamp_are_as_large_as_their_covariance_says():
    rng = np.random.default_rng(0)
    for swing in (0.0, 0.1):
        for behind_ns in (4_000_000, FRAME_NS // 2, FRAME_NS, 3 * FRAME_NS + FRAME_NS // 3, -10_000_000):
            squared = []
            for _ in range(30):
                motion, now_ns = motion_of(rng, swing)
                moved, covariance = motion.since(now_ns - behind_ns, now_ns)
                truth = pose_at(now_ns, swing).inverse @ pose_at(now_ns - behind_ns, swing)
                error = pose_difference(moved, truth)
                squared.append(error @ np.linalg.solve(covariance, error))
            assert np.mean(squared) / 6.0 < 1.3, (swing, behind_ns)


def test_an_image_of_the_same_stamp_has_not_moved_even_if_nothing_is_known():
    moved, covariance = RecentMotion().since(5, 5)
    assert moved.is_close(SE3.identity(), 0.0, 0.0)
    assert not covariance.any()


def test_while_no_frame_has_a_pose_the_motion_is_carried_on_less_and_less_surely():
    motion, now_ns = motion_of(np.random.default_rng(0), 0.1)
    sigmas = []
    for index in range(1, 5):
        _, covariance = motion.since(now_ns, now_ns + index * FRAME_NS)
        sigmas.append(np.sqrt(covariance[0, 0]))
    assert np.all(np.diff(sigmas) > 0.0)
    assert sigmas[3] > 5.0 * sigmas[0]
    assert motion.since(now_ns, now_ns + 5 * FRAME_NS) is None


def test_poses_that_are_made_of_its_own_motions_stay_rotations():
    """So are those of a rig whose leading camera sees nothing: rounding errors grew fourfold from frame to frame."""
    motion, now_ns = motion_of(np.random.default_rng(0), 0.1)
    for index in range(1, 60):
        stamp_ns = now_ns + index * FRAME_NS
        moved, _ = motion.since(stamp_ns - 7_000_000, stamp_ns)
        now = pose_at(stamp_ns - 7_000_000) @ moved.inverse
        motion.add(stamp_ns - 7_000_000, now @ moved)
    rotation = motion.poses[-1][1].rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_a_velocity_is_not_that_of_a_far_shorter_interval():
    """A camera beside takes its images at other times, and then goes on alone: nothing was known after it."""
    rng, squared = np.random.default_rng(0), []
    for count in range(40, 140):
        motion, newest_ns = motion_of(rng, 0.1, count)
        then_ns = newest_ns + FRAME_NS // 5
        motion.add(
            then_ns,
            motion.poses[-1][1]
            @ pose_at(newest_ns, 0.1).inverse
            @ perturbed(pose_at(then_ns, 0.1), rng.normal(size=6) * NOISE),
        )
        expected, covariance = motion.expected(then_ns + FRAME_NS)
        truth = motion.poses[-1][1] @ pose_at(then_ns, 0.1).inverse @ pose_at(then_ns + FRAME_NS, 0.1)
        error = pose_difference(expected, truth)
        squared.append(error @ np.linalg.solve(covariance, error))
        assert motion.since(then_ns + FRAME_NS, then_ns + 2 * FRAME_NS) is not None
    assert np.mean(squared) / 6.0 < 1.3


def test_a_leap_counts_once_the_next_pose_does_not_leap_back():
    """Images of another camera, or old ones, among the right ones."""
    motion, now_ns = motion_of(np.random.default_rng(0), 0.1)
    _, before = motion.since(now_ns - FRAME_NS, now_ns)
    motion.add(now_ns + FRAME_NS, pose_at(0))
    assert motion.has_leapt
    motion.add(now_ns + 2 * FRAME_NS, pose_at(now_ns + 2 * FRAME_NS, 0.1))
    assert not motion.has_leapt
    moved, covariance = motion.since(now_ns + FRAME_NS, now_ns + 2 * FRAME_NS)
    truth = pose_at(now_ns + 2 * FRAME_NS, 0.1).inverse @ pose_at(now_ns + FRAME_NS, 0.1)
    error = pose_difference(moved, truth)
    assert error @ np.linalg.solve(covariance, error) < 22.0
    assert covariance[0, 0] < 4.0 * before[0, 0]
    for index in (3, 4, 5):  # it stands still, elsewhere
        motion.add(now_ns + index * FRAME_NS, pose_at(0))
    assert not motion.has_leapt
    assert motion.poses[-1][1].is_close(pose_at(0))


def test_a_motion_that_is_not_known_is_not_made_up():
    motion, now_ns = motion_of(np.random.default_rng(0), 0.0)
    assert motion.since(now_ns - NANOSECONDS, now_ns) is None  # of an unplugged camera
    assert motion.since(now_ns + NANOSECONDS, now_ns) is None
    few, now_ns = motion_of(np.random.default_rng(0), 0.0, count=3)
    assert few.since(now_ns - FRAME_NS, now_ns) is None  # how uncertain it is was not seen yet
    motion.add(0, SE3.identity())  # the clock has jumped back
    assert motion.since(0, FRAME_NS) is None


def test_if_the_motion_is_not_known_the_newest_pose_is_expected_with_that_of_any_motion():
    motion = RecentMotion()
    assert motion.expected(FRAME_NS) is None
    motion.add(0, pose_at(0))
    pose, covariance = motion.expected(FRAME_NS)
    assert pose.is_close(pose_at(0))
    np.testing.assert_allclose(covariance, unobserved_motion_covariance(0.05))
