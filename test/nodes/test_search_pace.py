"""When an image is worth a search."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.nodes.search_pace import SearchPace

SECOND = 10**9
HERE = SE3(np.eye(3), np.array([1.0, 2.0, 0.5]))
FOUND = AnchorPose(10 * SECOND, HERE, np.diag([1e-4] * 6), 100, 200, 1.0)


def paused(result=FOUND, predicted=HERE):
    """After a search, with a fused pose of the frame after it."""
    pace = SearchPace(0.4)
    pace.tell_found(result, predicted)
    pace.tell_fused(10 * SECOND + SECOND // 30)
    return pace


def test_a_search_rests_for_a_period_after_it_has_confirmed_the_fused_pose():
    pace = paused()
    assert not pace.wants(10 * SECOND + SECOND // 10)
    assert pace.wants(10 * SECOND + SECOND // 2)


def test_a_clock_that_jumps_back_ends_the_rest():
    assert paused().wants(5 * SECOND)


@pytest.mark.parametrize(
    ("result", "predicted"),
    [
        (Rejection(10 * SECOND, Reason.FEW_INLIERS), HERE),
        (FOUND, None),
        (FOUND, SE3(np.eye(3), HERE.translation + 0.3)),
        (replace(FOUND, map_from_camera=SE3(np.diag([1.0, -1.0, -1.0]), HERE.translation)), HERE),
    ],
    ids=["not found", "no prediction", "elsewhere", "turned"],
)
def test_every_image_is_searched_until_map_and_fused_pose_agree(result, predicted):
    assert paused(result, predicted).wants(10 * SECOND + SECOND // 10)


def test_every_image_is_searched_where_only_anchors_give_poses():
    pace = SearchPace(0.4)
    pace.tell_found(FOUND, HERE)
    pace.tell_fused(FOUND.stamp_ns)  # published from the anchor itself
    assert pace.wants(10 * SECOND + SECOND // 10)
