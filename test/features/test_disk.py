"""DISK against the packaged original and on exactly known images, and LightGlue on its features."""

import cv2
import numpy as np
import pytest
import torch
from made_features import as_inputs, textured

from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher


@pytest.fixture(scope="module")
def extractor():
    return make_extractor(FeatureConfig(name="disk", max_keypoints=200))


@pytest.mark.parametrize("size", [(192, 256), (155, 203)], ids=["multiple of the stride", "padded"])
def test_features_are_those_of_the_original_in_colmap_pixels(original, extractor, size):
    image = textured(5, *size)
    reference = original.DISK(max_num_keypoints=200).eval()
    with torch.inference_mode():
        expected = reference({"image": torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255})
    found = extractor.extract(image)
    distances = np.linalg.norm(expected["keypoints"][0].numpy()[:, None] + 0.5 - found.keypoints[None], axis=2)
    nearest = distances.argmin(axis=1)
    similarity = (expected["descriptors"][0].numpy() * found.descriptors[nearest]).sum(axis=1)
    assert len(found) == 200
    assert distances.min(axis=1).max() == 0.0
    assert similarity.min() > 0.9999
    np.testing.assert_allclose(found.scores[nearest], expected["keypoint_scores"][0].numpy(), atol=1e-4)


def test_the_strongest_come_first_and_grey_images_are_taken(extractor):
    features = extractor.extract(cv2.cvtColor(textured(5, 192, 256), cv2.COLOR_RGB2GRAY))
    assert len(features) == 200
    assert np.all(np.diff(features.scores) <= 0)
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-5)


def test_keypoints_of_a_reduced_image_are_in_pixels_of_the_original():
    image = textured(5, 192, 256)
    doubled = image.repeat(2, axis=0).repeat(2, axis=1)
    small = make_extractor(FeatureConfig(name="disk", max_keypoints=50)).extract(image)
    large = make_extractor(FeatureConfig(name="disk", max_keypoints=50, resize_max=256)).extract(doubled)
    np.testing.assert_allclose(large.keypoints, 2.0 * small.keypoints, atol=1e-4)
    assert large.image_size == (512, 384)


@pytest.mark.parametrize("size", [(12, 10), (40, 17)])
def test_the_smallest_images_are_taken(extractor, size):
    features = extractor.extract(textured(5, 192, 256)[: size[0], : size[1]])
    assert features.descriptors.shape == (len(features), 128)
    assert np.all(features.keypoints < size[::-1])


def test_lightglue_follows_a_known_shift_as_the_original_does(original, extractor):
    a, b = (
        extractor.extract(textured(5, 192, 256)),
        extractor.extract(np.roll(textured(5, 192, 256), (9, -14), axis=(0, 1))),
    )
    matches = make_matcher(MatcherConfig(precision="float32"), "disk").match(a, b)
    with torch.inference_mode():
        expected = original.LightGlue(features="disk").eval()({"image0": as_inputs(a), "image1": as_inputs(b)})
    motion = b.keypoints[matches.pairs[:, 1]] - a.keypoints[matches.pairs[:, 0]]
    assert len(matches) > 60
    assert np.mean(np.abs(motion - [-14, 9]).max(axis=1) < 1.5) > 0.9  # keypoints are whole pixels
    assert set(map(tuple, matches.pairs.tolist())) == set(map(tuple, expected["matches"][0].tolist()))
