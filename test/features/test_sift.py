"""SIFT on images whose blobs are exactly known, and what LightGlue needs of it."""

import cv2
import numpy as np
import pytest

from visloc_ros.core.feature_files import read_local_features, write_local_features
from visloc_ros.features import FeatureConfig, MatcherConfig, SiftConfig, make_extractor, make_matcher


def blobs(centres, sigma, size=128):
    """A grey image with Gaussian spots around centres (N, 2) in COLMAP pixels."""
    ys, xs = np.mgrid[0:size, 0:size] + 0.5
    squares = [(xs - x) ** 2 + (ys - y) ** 2 for x, y in centres]
    return np.clip(255 * np.exp(-np.array(squares) / (2 * sigma**2)).sum(axis=0), 0, 255).astype(np.uint8)


def textured(seed=4, size=256):
    rng = np.random.default_rng(seed)
    return cv2.normalize(cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 2.5), None, 0, 255, 32).astype(
        np.uint8
    )


def extractor(**options):
    return make_extractor(FeatureConfig(name="sift", **options))


@pytest.mark.parametrize("centre", [(40.3, 30.7), (61.25, 55.5), (80.5, 90.0)])
def test_a_blob_is_found_where_it_is_in_colmap_pixels(centre):
    keypoints = extractor().extract(blobs([centre], 3.0)).keypoints
    assert np.linalg.norm(keypoints - centre, axis=1).min() < 0.03


def test_the_size_of_a_keypoint_is_in_pixels_of_the_original():
    image = blobs([(64.0, 64.0)], 4.0)
    full = extractor().extract(image)
    half = extractor(resize_max=64).extract(image)
    for features in (full, half):
        at_blob = np.linalg.norm(features.keypoints - 64.0, axis=1).argmin()
        assert features.scales_angles[at_blob, 0] == pytest.approx(7.1, rel=0.1)


def test_descriptors_are_unit_vectors_without_negative_entries_strongest_first():
    features = extractor(max_keypoints=100).extract(np.dstack([textured()] * 3))
    assert features.descriptors.shape == (100, 128)
    assert features.descriptors.min() >= 0.0
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-5)
    assert np.all(np.diff(features.scores) <= 0)


def test_a_quarter_turn_is_matched_and_turns_the_angles():
    image = textured()
    a, b = extractor().extract(image), extractor().extract(np.rot90(image, -1).copy())
    pairs = make_matcher(MatcherConfig(name="nearest", ratio=0.8), "sift").match(a, b).pairs
    turned = np.column_stack((256 - a.keypoints[pairs[:, 0], 1], a.keypoints[pairs[:, 0], 0]))
    difference = b.scales_angles[pairs[:, 1], 1] - a.scales_angles[pairs[:, 0], 1]
    assert len(pairs) > 200
    assert np.mean(np.linalg.norm(b.keypoints[pairs[:, 1]] - turned, axis=1) < 1.0) > 0.95
    assert np.median(np.abs(np.angle(np.exp(1j * (difference - np.pi / 2))))) < 0.05


def test_upright_keypoints_have_no_angle_and_do_not_match_a_turned_image():
    image = textured()
    upright = extractor(sift=SiftConfig(upright=True))
    a, b, c = (upright.extract(one) for one in (image, np.rot90(image, -1).copy(), np.roll(image, 5, axis=1)))
    matcher = make_matcher(MatcherConfig(name="nearest", ratio=0.8), "sift")
    assert not a.scales_angles[:, 1].any()
    assert len(np.unique(a.keypoints, axis=0)) == len(a)
    assert len(matcher.match(a, c)) > 200 > 20 > len(matcher.match(a, b))


def test_a_uniform_image_gives_nothing():
    features = extractor().extract(np.full((100, 120), 90, np.uint8))
    assert len(features) == 0
    assert features.descriptors.shape == (0, 128)
    assert features.scales_angles.shape == (0, 2)


def test_sizes_and_angles_come_back_from_the_file_of_a_map(tmp_path):
    features = extractor(max_keypoints=60).extract(textured())
    write_local_features(tmp_path / "features.h5", {"a.jpg": features})
    (read,) = read_local_features(tmp_path / "features.h5", ["a.jpg"], [60])
    np.testing.assert_allclose(read.scales_angles, features.scales_angles, rtol=1e-5)
