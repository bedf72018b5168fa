"""Spoiled frames and priors: what is done to an image, that the turned camera took it so, how far off priors are."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest

from testing.corruptions import (
    blurred,
    false_prior,
    grainy,
    mirrored,
    occluded,
    patterns,
    perturbed,
    tinted,
    turned_upside_down,
    upside_down,
    with_gamma,
)
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg

PINHOLE = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 52, 30, 25])
OPENCV = pycolmap.Camera(model="OPENCV", width=64, height=48, params=[50, 52, 30, 25, -0.2, 0.05, 0.002, -0.003])
POSE = SE3.from_rotation_vector([0.3, 0.1, -0.2], [1.0, -2.0, 0.5])
FAR = SE3(POSE.rotation, POSE.translation + np.array([3.0, 0.0, 0.0]))
NOTHING = LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 8)), (64, 48))


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


def test_gamma_darkens_or_brightens_all_but_black_and_white(frame):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    darker, brighter = (with_gamma(replace(frame, image=levels), gamma).image.astype(int) for gamma in (3.0, 1 / 3))
    assert darker[8, 0] == int(255 * (128 / 255) ** 3)
    assert (darker <= levels).all()
    assert (brighter >= levels).all()
    assert [one.ravel()[[0, 255]].tolist() for one in (darker, brighter)] == [[0, 255]] * 2
    assert np.ptp(darker) == np.ptp(brighter) == 255


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_coloured_light_gives_each_channel_its_gain(frame, shape):
    image = np.full(shape, 100, np.uint8)
    assert np.unique(tinted(replace(frame, image=image), (1.0, 0.6, 0.3)).image, axis=None).tolist() == [30, 60, 100]


@pytest.mark.parametrize("electrons", [50.0, 1000.0])
def test_grain_keeps_the_light_and_has_the_variance_of_counted_photons(frame, electrons):
    grey = np.full((480, 640), 128, np.uint8)
    noisy = grainy(replace(frame, image=grey), electrons, np.random.default_rng(0)).image
    light, seen = (electrons * (values / 255.0) ** 2.2 for values in (128.0, noisy + 0.5))
    assert seen.mean() == pytest.approx(light, rel=0.03)
    assert seen.var() == pytest.approx(light + 2.0**2, rel=0.1)


def test_grain_is_the_same_for_the_same_generator(frame):
    first, again, other = (grainy(frame, 100.0, np.random.default_rng(seed)).image for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


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


def map_at(*poses):
    images = tuple(MapImage(str(i), pose, None, NOTHING, np.empty(0, np.int32)) for i, pose in enumerate(poses))
    manifest = Manifest("m", "test", {}, metric=True, gravity_aligned=False)
    return Map("m", manifest, images, np.zeros((1, 3)), np.empty((0, 0)), np.empty((0, 0)))


def test_a_perturbed_pose_is_off_by_exactly_the_stated_amounts():
    rng = np.random.default_rng(0)
    poses = [perturbed(POSE, rng, 0.05, 2.0) for _ in range(10)]
    for pose in poses:
        assert position_error(pose, POSE) == pytest.approx(0.05)
        assert rotation_error_deg(pose, POSE) == pytest.approx(2.0)
    assert len({tuple(pose.translation) for pose in poses}) == 10


def test_a_false_prediction_is_never_near_the_truth_where_the_map_reaches_farther():
    place, rng = map_at(POSE, FAR), np.random.default_rng(0)
    assert all(position_error(false_prior(place, rng, POSE), FAR) < 0.2 for _ in range(20))


def test_without_a_truth_a_false_prediction_comes_from_anywhere_in_the_map():
    place, rng = map_at(POSE, FAR), np.random.default_rng(0)
    near_first = [position_error(false_prior(place, rng), POSE) < 0.2 for _ in range(20)]
    assert 0 < sum(near_first) < 20
