"""Pairs of images: each once, the right ones, the same every time."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.mapping.pairs import merge_pairs, pairs_to_known, retrieval_pairs, sequential_pairs, view_pairs


def test_neighbours_within_the_window():
    assert sequential_pairs(4, 2) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert sequential_pairs(1, 3) == []


def test_merged_pairs_are_unique_and_ordered():
    assert merge_pairs([(2, 1), (0, 3)], [(1, 2), (3, 0), (1, 1)]) == [(0, 3), (1, 2)]


class TestRetrieval:
    def test_the_most_alike_images_are_paired(self):
        angles = np.array([0.0, 1.5, 0.1, 1.4])
        descriptors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        assert retrieval_pairs(descriptors, 1) == [(0, 2), (1, 3)]

    def test_known_pairs_make_room_for_others(self):
        descriptors = np.eye(5) + 0.5
        neighbours = sequential_pairs(5, 1)
        further = retrieval_pairs(descriptors, 2, exclude=neighbours)
        assert not set(further) & set(neighbours)
        assert all(i < j for i, j in further)
        assert further == retrieval_pairs(descriptors, 2, exclude=neighbours)

    def test_nothing_is_left_to_pair(self):
        assert retrieval_pairs(np.eye(2), 3, exclude=[(0, 1)]) == []
        assert retrieval_pairs(np.eye(3), 0) == []


class TestGroups:
    ANGLES = np.array([0.0, 0.1, 0.2, 0.05, 0.25])
    DESCRIPTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)

    def test_every_image_is_paired_within_its_group_and_across(self):
        assert retrieval_pairs(self.DESCRIPTORS, 1, groups=list("aaabb")) == merge_pairs(
            [(0, 1), (1, 2), (3, 4)], [(0, 3), (1, 3), (2, 4)]
        )

    def test_images_follow_each_other_in_a_group_but_are_alike_across(self):
        following = [(0, 1), (1, 2), (3, 4)]
        assert retrieval_pairs(self.DESCRIPTORS, 1, following, list("aaabb")) == [(0, 2), (0, 3), (1, 3), (2, 4)]

    def test_views_are_paired_across_groups_too(self):
        poses = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0, 10.0)]
        assert view_pairs(poses, 1, 60.0) == [(0, 1), (1, 2)]
        assert view_pairs(poses, 1, 60.0, groups=["a", "a", "b"]) == [(0, 1), (0, 2), (1, 2)]

    def test_new_images_are_paired_with_the_most_alike_known_ones(self):
        known, new = self.DESCRIPTORS[[0, 1, 2]], self.DESCRIPTORS[[1, 4]]
        assert pairs_to_known(new, known, 1) == [(1, 3), (2, 4)]
        assert pairs_to_known(new, known, 9) == [(j, i) for j in range(3) for i in (3, 4)]


class TestViews:
    def poses(self):
        """Three cameras side by side that look ahead, and one between them that looks back."""
        ahead = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0, 3.0)]
        return [*ahead, SE3(rotation_matrix([0.0, np.pi, 0.0]), np.array([0.5, 0.0, 0.0]))]

    def test_near_cameras_that_look_the_same_way_are_paired(self):
        assert view_pairs(self.poses(), 1, 60.0) == [(0, 1), (1, 2)]

    def test_cameras_that_look_elsewhere_are_not(self):
        assert not [pair for pair in view_pairs(self.poses(), 3, 60.0) if 3 in pair]
        assert (0, 3) in view_pairs(self.poses(), 3, 180.0)

    @pytest.mark.parametrize("degrees", [20.0, 40.0])
    def test_the_angle_is_that_between_the_viewing_directions(self, degrees):
        poses = [SE3.identity(), SE3(rotation_matrix([0.0, np.radians(degrees), 0.0]), np.array([1.0, 0.0, 0.0]))]
        assert bool(view_pairs(poses, 1, 30.0)) == (degrees < 30.0)
