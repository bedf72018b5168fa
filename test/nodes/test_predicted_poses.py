"""When an image is worth a search, when nothing is as important as one, and where it is searched first."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Reason, Rejection, State, Support
from visloc_ros.nodes.predicted_poses import SHORTEST_REST_S, STARVED_S, FusedState, RecentPoses, SearchPace

SECOND = 10**9
HERE = SE3(np.eye(3), np.array([1.0, 2.0, 0.5]))
FOUND = AnchorPose(10 * SECOND, HERE, np.diag([1e-4] * 6), 100, 200, 1.0)
HELD = FusedState(0, State.LOCALIZED, Support.MAP_TRACKING, 0.03, 1.0)
LONGEST_S = 3.0


def fused(stamp_s, **changes):
    return replace(HELD, stamp_ns=round(stamp_s * SECOND), **changes)


def found(stamp_s):
    return replace(FOUND, stamp_ns=round(stamp_s * SECOND))


def searched(result=FOUND, predicted=HERE, longest_s=LONGEST_S):
    """After a search, with a fused pose of the frame after it."""
    pace = SearchPace(longest_s)
    pace.add_search(result, predicted)
    pace.add_fused(fused(10.033))
    return pace


def rest_of(pace, **changes):
    """Seconds until the next search after that of ``FOUND``, while fused poses go on."""
    for tenths in range(1, 100):
        pace.add_fused(fused(10.0 + tenths / 10, **changes))
        if pace.wants(round((10.0 + tenths / 10) * SECOND)):
            return tenths / 10
    return np.inf


def test_a_search_rests_after_it_has_confirmed_the_fused_pose():
    assert rest_of(searched()) == pytest.approx(SHORTEST_REST_S)


def test_rests_grow_to_the_longest_while_followed_points_hold_a_pose_that_searches_confirm():
    pace, rests, stamp_s = SearchPace(LONGEST_S), [], 10.0
    for _ in range(5):
        pace.add_search(found(stamp_s), HERE)
        begin_s = stamp_s
        while stamp_s == begin_s or not pace.wants(round(stamp_s * SECOND)):
            stamp_s += 0.1
            pace.add_fused(fused(stamp_s))
        rests.append(stamp_s - begin_s)
    assert rests == pytest.approx([0.5, 1.0, 2.0, 3.0, 3.0], abs=0.11)


def test_rests_stay_short_where_odometry_alone_leads_on():
    pace = SearchPace(LONGEST_S)
    for stamp_s in (9.0, 9.5, 10.0):
        pace.add_fused(fused(stamp_s, support=Support.ANCHOR))
        pace.add_search(found(stamp_s), HERE)
    assert rest_of(pace, support=Support.ANCHOR) == pytest.approx(SHORTEST_REST_S)


def test_searches_are_the_first_to_give_way_where_not_all_images_are_followed():
    pace = searched(predicted=SE3(np.eye(3), np.array([3.0, 2.0, 0.5])))  # carried on, and off by more than an anchor
    assert pace.wants(round(10.1 * SECOND))
    for tenths in range(3):
        pace.add_fused(fused(10.1 + tenths / 10, is_predicted=True))
    pace.add_search(found(10.0), SE3(np.eye(3), np.array([3.0, 2.0, 0.5])))
    assert rest_of(pace, is_predicted=True, position_sigma=0.3) == pytest.approx(LONGEST_S, abs=0.01)
    assert rest_of(pace, is_predicted=True, state=State.DEGRADED, support=Support.NONE) == pytest.approx(0.1)


def test_an_image_or_two_that_were_not_followed_change_nothing():
    pace = searched()
    pace.add_fused(fused(10.05, is_predicted=True))
    assert rest_of(pace) == pytest.approx(SHORTEST_REST_S)


def long_rest():
    """In the middle of a long rest."""
    pace = SearchPace(LONGEST_S)
    for stamp_s in (8.5, 9.0, 10.0):
        pace.add_search(found(stamp_s), HERE)
        pace.add_fused(fused(stamp_s + 0.1))
    assert not pace.wants(10 * SECOND + SECOND // 5)
    return pace


@pytest.mark.parametrize(
    "changes",
    [
        {"position_sigma": 0.05},
        {"rotation_sigma_deg": 1.6},
        {"support": Support.ODOMETRY},
        {"support": Support.NONE, "state": State.LOST, "position_sigma": -1.0, "rotation_sigma_deg": -1.0},
    ],
    ids=["position less certain", "rotation less certain", "points lost", "pose lost"],
)
def test_a_rest_ends_as_soon_as_the_pose_is_held_less_well(changes):
    pace = long_rest()
    pace.add_fused(fused(10.7, **changes))
    assert pace.wants(round(10.7 * SECOND))


def test_a_rest_ends_when_no_fused_pose_comes_any_more():
    pace = long_rest()
    assert not pace.wants(round(10.3 * SECOND))
    assert pace.wants(round(10.5 * SECOND))


def test_a_clock_that_jumps_back_ends_the_rest():
    assert searched().wants(5 * SECOND)


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
    assert searched(result, predicted).wants(10 * SECOND + SECOND // 10)


def test_every_image_is_searched_where_only_anchors_give_poses_or_rests_are_switched_off():
    pace = SearchPace(LONGEST_S)
    pace.add_search(FOUND, HERE)
    pace.add_fused(fused(10.0))  # published from the anchor itself
    assert pace.wants(10 * SECOND + SECOND // 10)
    assert searched(longest_s=0.0).wants(10 * SECOND + SECOND // 10)


@pytest.mark.parametrize("state", [State.UNINITIALIZED, State.INITIALIZING, State.DEGRADED, State.LOST])
def test_a_search_is_urgent_unless_the_pose_is_localized(state):
    pace = searched()
    assert not pace.is_urgent(10 * SECOND + SECOND // 10)
    pace.add_fused(fused(10.1, state=state))
    assert pace.is_urgent(10 * SECOND + SECOND // 10)


def test_a_search_is_urgent_before_anything_is_known_without_poses_and_after_long_without_one():
    assert SearchPace(LONGEST_S).is_urgent(0)
    pace = searched()
    assert pace.is_urgent(11 * SECOND)
    later_s = 10.0 + STARVED_S
    pace.add_fused(fused(later_s - 0.1))
    assert not pace.is_urgent(round((later_s - 0.1) * SECOND))
    assert pace.is_urgent(round(later_s * SECOND))


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
