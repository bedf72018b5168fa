from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.pipeline.segment_numbers import SegmentNumbers


def pose(segment):
    return OdometryPose(1, SE3.identity(), segment, 100)


def test_a_node_that_is_started_again_begins_segments_of_its_own():
    numbers, told = SegmentNumbers(), ((0, 1), (2, 2), (0, 1), (1, 2))  # segment, frames received
    assert [numbers.renumbered(pose(segment), received).segment for segment, received in told] == [0, 2, 3, 4]


def test_frames_without_a_pose_are_handed_on_as_they_are():
    loss = Rejection(1, Reason.FEW_FEATURES)
    assert SegmentNumbers().renumbered(loss, 1) is loss
