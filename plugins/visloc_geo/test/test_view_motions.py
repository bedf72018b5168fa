from dataclasses import replace

import numpy as np
import pytest

from visloc_geo.orientation import rotation_of
from visloc_geo.solving.types import BestTag, GeoKind, PhotoPose
from visloc_geo.solving.view_motions import contradicts, is_contradicted, pairs_to_match
from visloc_ros.core.geometry import SE3

NORTHWARD = {f"view{row}": SE3(rotation_of(0.0), np.array([0.0, 10.0 * row, 2.0])) for row in range(4)}
TAG = BestTag("view0", np.zeros(3), 5.0, 50)
POSE = PhotoPose(
    GeoKind.SOLVED, np.zeros(3), np.eye(3), np.eye(6), TAG, np.arange(40), 80, tuple(NORTHWARD), 1.0,
    views=NORTHWARD, view_sigma_m=3.0,
)  # fmt: skip


def motion(heading_deg=0.0, direction_deg=0.0):
    """``first_from_second`` of two views, the second turned by a heading and standing in a direction from ahead."""
    ahead = np.array([np.sin(np.radians(direction_deg)), 0.0, np.cos(np.radians(direction_deg))])
    return SE3(rotation_of(0.0).T @ rotation_of(heading_deg), ahead)


def test_views_that_moved_as_the_pose_has_it_agree():
    assert not contradicts(POSE, "view0", "view3", motion())
    assert not contradicts(POSE, "view0", "view3", motion(heading_deg=2.0, direction_deg=15.0))


@pytest.mark.parametrize("wrong", [motion(heading_deg=20.0), motion(direction_deg=60.0), motion(direction_deg=180.0)])
def test_another_turn_or_direction_contradicts(wrong):
    assert contradicts(POSE, "view0", "view3", wrong)


def test_a_scene_turned_as_a_whole_contradicts_by_the_direction_alone():
    turned = {name: SE3(rotation_of(90.0), view.translation) for name, view in NORTHWARD.items()}
    assert contradicts(replace(POSE, views=turned), "view0", "view3", motion())


def test_pairs_are_the_farthest_first_and_none_whose_direction_is_uncertain():
    pairs = list(pairs_to_match(replace(POSE, view_sigma_m=6.0)))
    assert set(pairs[0]) == {"view0", "view3"}
    assert all(abs(int(one[-1]) - int(other[-1])) >= 2 for one, other in pairs)
    assert list(pairs_to_match(replace(POSE, view_sigma_m=30.0))) == []


def test_most_pairs_decide_and_no_more_are_matched_than_that_takes():
    asked = []

    def motions_between(*wrong):
        def found(one, other):
            asked.append({one, other})
            is_wrong = {one, other} in wrong or not wrong
            turned = motion(heading_deg=80.0 * is_wrong)
            return [turned if one < other else turned.inverse]

        return found

    farthest, next_ones = {"view0", "view3"}, [{"view0", "view2"}, {"view1", "view3"}]
    assert is_contradicted(POSE, motions_between()), "all pairs"
    assert len(asked) == 2
    assert not is_contradicted(POSE, motions_between(farthest)), "matches of views far from each other feign motions"
    assert is_contradicted(POSE, motions_between(farthest, *next_ones))
    assert not is_contradicted(POSE, lambda *_: []), "no views see enough of the same"
