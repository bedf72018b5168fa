"""Spoiled frames: what is done to the image, and that the turned camera really is the one that took it so."""

import cv2
import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.simulation.corruptions import (
    blurred,
    mirrored,
    occluded,
    patterns,
    turned_upside_down,
    upside_down,
)

PINHOLE = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 52, 30, 25])
OPENCV = pycolmap.Camera(model="OPENCV", width=64, height=48, params=[50, 52, 30, 25, -0.2, 0.05, 0.002, -0.003])


@pytest.fixture
def frame():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Frame(7, image, PINHOLE, "a.jpg")


@pytest.mark.parametrize("camera", [PINHOLE, OPENCV], ids=["pinhole", "opencv"])
def test_a_turned_camera_sees_every_point_at_the_opposite_pixel(camera):
    rng = np.random.default_rng(1)
    pose = SE3.from_rotation_vector([0.1, -0.2, 0.3], [1.0, 2.0, 3.0])
    points = pose @ (rng.uniform([-0.5, -0.4, 1.0], [0.5, 0.4, 1.2], (20, 3)))
    turned = upside_down(Frame(0, np.zeros((48, 64), np.uint8), camera)).camera
    upright = project(camera, pose.inverse @ points)
    opposite = project(turned, turned_upside_down(pose).inverse @ points)
    assert np.allclose(opposite, [64, 48] - upright, atol=1e-9)


def test_turning_twice_gives_the_frame_back(frame):
    twice = upside_down(upside_down(frame))
    assert np.array_equal(twice.image, frame.image)
    assert list(twice.camera.params) == list(frame.camera.params)


def test_a_mirror_swaps_left_and_right_and_keeps_the_camera(frame):
    assert np.array_equal(mirrored(frame).image[:, 0], frame.image[:, -1])
    assert mirrored(frame).camera is frame.camera


def test_blur_takes_detail_away(frame):
    sharp, soft = (cv2.Laplacian(one.image, cv2.CV_64F).var() for one in (frame, blurred(frame, 2.0)))
    assert soft < 0.05 * sharp


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_an_occluder_covers_its_share_from_one_side(frame, share):
    image = occluded(frame, share, np.random.default_rng(0)).image
    changed = (image != frame.image).any(axis=(0, 2))
    covered = round(share * 64)
    assert changed.sum() == covered
    assert changed[:covered].all() or changed[-covered:].all()


def test_patterns_are_of_every_kind_and_the_same_again_by_seed():
    first, again = ([*patterns(PINHOLE, 12, seed=3)] for _ in range(2))
    kinds = [kind for kind, _ in first]
    assert kinds[:6] == kinds[6:]
    assert len(set(kinds)) == 6
    for (_, one), (_, same) in zip(first, again, strict=True):
        assert one.image.shape == (48, 64, 3)
        assert np.array_equal(one.image, same.image)
    assert not np.array_equal(first[0][1].image, first[6][1].image)
