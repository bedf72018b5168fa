import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.predicted_poses import RecentPoses

SECOND = 1_000_000_000


def pose(x):
    return SE3(np.eye(3), [x, 0.0, 0.0])


def x_at(poses, stamp_ns):
    found = poses.at(stamp_ns)
    return None if found is None else float(found.translation[0])


def test_the_pose_of_the_stamp_or_the_nearest_or_the_next_expected_is_given():
    poses = RecentPoses(10, max_gap_ns=SECOND)
    for index in range(5):
        poses.add(index * SECOND, pose(float(index)))
    assert x_at(poses, 2 * SECOND) == 2.0
    assert x_at(poses, 2 * SECOND + SECOND // 3) == 2.0
    assert x_at(poses, 4 * SECOND + SECOND // 2) == 4.5  # carried on at the last velocity


def test_there_is_none_where_all_are_too_far_in_time():
    poses = RecentPoses(10, max_gap_ns=SECOND)
    assert poses.at(0) is None
    poses.add(0, pose(0.0))
    assert poses.at(SECOND + 1) is None


def test_only_the_last_are_kept():
    poses = RecentPoses(2, max_gap_ns=SECOND // 4)
    for index in range(3):
        poses.add(index * SECOND, pose(float(index)))
    assert poses.at(0) is None
    assert x_at(poses, SECOND) == 1.0


def test_a_jump_back_in_time_and_another_map_forget_the_poses():
    poses = RecentPoses(10, max_gap_ns=SECOND)
    poses.add(9 * SECOND, pose(9.0))
    poses.add(0, pose(0.0))
    assert poses.at(9 * SECOND) is None
    poses.clear()
    assert poses.at(0) is None
