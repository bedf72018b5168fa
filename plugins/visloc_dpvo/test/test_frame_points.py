"""Depths of a frame's keypoints from its two neighbours, with exactly known poses and points."""

import numpy as np
import torch
from dpvo_oracle import to_row

from visloc_dpvo.frame_points import Triple, triangulate, triangulate_pixels
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.features.types import Matches

INTRINSICS = np.array([400.0, 410.0, 320.0, 240.0], dtype=np.float32)
CAMERAS = (  # camera_from_world: before, the frame, after
    SE3.from_rotation_vector([0.0, 0.02, 0.0], [0.25, 0.02, 0.0]),
    SE3.from_rotation_vector([0.1, 0.0, 0.0], [0.0, 0.0, 0.1]),
    SE3.from_rotation_vector([0.0, -0.02, 0.01], [-0.25, 0.05, 0.05]),
)


def scene(count=200, seed=0):
    """Points (K, 3) in the frame's camera and their pixels (3, K, 2), OpenCV's, in all three."""
    rng = np.random.default_rng(seed)
    depths = rng.uniform(1.5, 6.0, count)
    points = np.column_stack((rng.uniform([-0.6, -0.4], [0.6, 0.4], (count, 2)) * depths[:, None], depths))
    world = CAMERAS[1].inverse @ points
    return points, np.stack([pixels_of(camera @ world) for camera in CAMERAS])


def pixels_of(points):
    return (points[:, :2] / points[:, 2:] * INTRINSICS[:2] + INTRINSICS[2:]).astype(np.float32)


def features(pixels):
    count = len(pixels)
    return LocalFeatures(
        (pixels + HALF_PIXEL).astype(np.float32), np.ones(count, np.float32), np.zeros((count, 8)), (640, 480)
    )


def triple(pixels, inverse_depth=0.3):
    poses = torch.stack([to_row(camera) for camera in CAMERAS]).float().numpy()
    return Triple(tuple(features(one) for one in pixels), poses, INTRINSICS, inverse_depth)


class RowMatcher:
    """Matches equal rows, but for those that it is set to leave out."""

    def __init__(self, *left_out):
        self.left_out = left_out

    def match(self, a, b):
        rows = np.arange(min(len(a), len(b)), dtype=np.int32)
        return Matches(np.column_stack((rows, rows)), np.ones(len(rows), np.float32))

    def match_many(self, query, references):
        found = [self.match(query, reference).pairs for reference in references]
        kept = [pairs[~np.isin(pairs[:, 0], gone)] for pairs, gone in zip(found, self.left_out, strict=True)]
        return [Matches(pairs, np.ones(len(pairs), np.float32)) for pairs in kept]


def test_exact_pixels_give_the_exact_points():
    points, pixels = scene()
    found, good = triangulate_pixels(triple(pixels), pixels[1], pixels[[0, 2]])
    assert good.all()
    np.testing.assert_allclose(found, points, rtol=2e-3)


def test_points_that_a_neighbour_sees_elsewhere_are_left_out():
    points, pixels = scene()
    pixels[2, :50, 1] += 12.0  # off the epipolar line, so no depth explains it
    found, good = triangulate_pixels(triple(pixels), pixels[1], pixels[[0, 2]])
    assert not good[:50].any()
    assert good[50:].all()
    np.testing.assert_allclose(found, points[50:], rtol=2e-3)


def test_only_keypoints_that_both_neighbours_see_become_points():
    points, pixels = scene()
    matcher = RowMatcher(np.arange(0, 20), np.arange(10, 40))
    frame_points = triangulate(triple(pixels), matcher)
    assert len(frame_points.points) == len(frame_points.features) == 160
    np.testing.assert_allclose(frame_points.points, points[40:], rtol=2e-3)
    np.testing.assert_array_equal(frame_points.features.keypoints, features(pixels[1]).keypoints[40:])


def test_the_poses_are_taken_as_they_are():
    _, pixels = scene()
    given = triple(pixels)
    before = given.poses.copy()
    triangulate_pixels(given, pixels[1], pixels[[0, 2]])
    np.testing.assert_array_equal(given.poses, before)


def test_no_match_gives_no_points():
    _, pixels = scene(30)
    nothing = triangulate(triple(pixels), RowMatcher(np.arange(30), np.arange(0)))
    assert len(nothing.points) == len(nothing.features) == 0
