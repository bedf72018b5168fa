import threading

from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.frame_poses import FramePoses

POSE = SE3.identity()
FRAME_NS = 33_000_000


def test_a_pose_is_that_of_its_own_frame_only():
    poses = FramePoses()
    poses.add(10 * FRAME_NS, POSE)
    assert poses.of(10 * FRAME_NS, 0.0) is POSE
    assert poses.of(11 * FRAME_NS, 0.0) is None
    assert poses.of(9 * FRAME_NS, 60.0) is None  # too late, and nothing to wait for


def test_a_pose_that_is_under_way_is_waited_for():
    poses, found, begun = FramePoses(), [], threading.Event()
    poses.add(FRAME_NS, POSE)

    def wait():
        begun.set()
        found.append(poses.of(2 * FRAME_NS, 60.0))

    reader = threading.Thread(target=wait)
    reader.start()
    begun.wait()
    poses.add(2 * FRAME_NS, POSE)
    reader.join()
    assert found == [POSE]


def test_nobody_waits_where_no_poses_come():
    """A minute would make the test fail by its time-out."""
    poses = FramePoses()
    assert poses.of(FRAME_NS, 60.0) is None
    poses.add(FRAME_NS, POSE)
    assert poses.of(100 * FRAME_NS, 60.0) is None
    poses.clear()
    assert poses.of(2 * FRAME_NS, 60.0) is None
