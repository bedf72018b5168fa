"""The learned models on a processor against the packaged originals and against exactly known images."""

import cv2
import numpy as np
import pytest
import torch
from made_features import as_inputs, textured

from visloc_ros.core.errors import ModelError
from visloc_ros.core.map import LocalFeatures
from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher


@pytest.fixture(scope="module")
def extractor():
    return make_extractor(FeatureConfig(max_keypoints=256, precision="float32", device="cpu"))


@pytest.fixture(scope="module")
def matcher():
    return make_matcher(MatcherConfig(precision="float32", device="cpu"))


@pytest.mark.parametrize("size", [(240, 320), (250, 333)], ids=["multiple of the stride", "padded"])
def test_features_are_those_of_the_original_in_colmap_pixels(original, extractor, size):
    image = textured(1, *size)
    reference = original.ALIKED(model_name="aliked-n16", max_num_keypoints=256, detection_threshold=0.2).eval()
    with torch.inference_mode():
        expected = reference({"image": torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255})
    found = extractor.extract(image)
    keypoints = expected["keypoints"][0].numpy() + 0.5
    distances = np.linalg.norm(keypoints[:, None] - found.keypoints[None], axis=2)
    similarity = (expected["descriptors"][0].numpy() * found.descriptors[distances.argmin(axis=1)]).sum(axis=1)
    assert len(found) == len(keypoints) > 100
    assert distances.min(axis=1).max() < 0.01
    assert np.percentile(similarity, 5) > 0.9999  # features beside a padded border may differ a little


def test_half_precision_hardly_moves_keypoints_or_turns_descriptors(extractor):
    halved = make_extractor(FeatureConfig(max_keypoints=256, precision="bfloat16", device="cpu"))
    full, half = extractor.extract(textured(1)), halved.extract(textured(1))
    distances = np.linalg.norm(full.keypoints[:, None] - half.keypoints[None], axis=2)
    similarity = (full.descriptors * half.descriptors[distances.argmin(axis=1)]).sum(axis=1)
    same = distances.min(axis=1) < 0.5
    assert same.mean() > 0.95  # the others are the weakest: a rank further down than the last one kept
    assert np.median(distances.min(axis=1)[same]) < 0.05
    assert np.percentile(similarity[same], 5) > 0.98
    np.testing.assert_allclose(np.linalg.norm(half.descriptors, axis=1), 1.0, atol=1e-5)


def test_matches_are_those_of_the_original(original, extractor, matcher):
    a, b = extractor.extract(textured(1)), extractor.extract(np.roll(textured(1), (9, -14), axis=(0, 1)))
    with torch.inference_mode():
        expected = original.LightGlue(features="aliked").eval()({"image0": as_inputs(a), "image1": as_inputs(b)})
    found = matcher.match(a, b)
    assert len(found) > 100
    assert {tuple(pair) for pair in found.pairs.tolist()} == {tuple(pair) for pair in expected["matches"][0].tolist()}
    np.testing.assert_allclose(np.sort(found.scores), np.sort(expected["scores"][0].numpy()), atol=1e-3)


def test_matched_keypoints_follow_a_known_shift(extractor, matcher):
    image = textured(2)
    shifted = np.roll(image, (7, -12), axis=(0, 1))
    a, b = extractor.extract(image), extractor.extract(shifted)
    pairs = matcher.match(a, b).pairs
    motion = b.keypoints[pairs[:, 1]] - a.keypoints[pairs[:, 0]]
    assert len(pairs) > 80
    assert np.mean(np.linalg.norm(motion - [-12, 7], axis=1) < 0.5) > 0.9


def test_keypoints_of_a_reduced_image_are_in_pixels_of_the_original(extractor):
    image = textured(3)
    doubled = image.repeat(2, axis=0).repeat(2, axis=1)
    reducing = make_extractor(FeatureConfig(max_keypoints=256, precision="float32", device="cpu", resize_max=320))
    features = reducing.extract(doubled)
    assert features.image_size == (640, 480)
    np.testing.assert_allclose(features.keypoints, 2.0 * extractor.extract(image).keypoints, atol=1e-2)


def test_grey_and_colour_agree_on_a_grey_image(extractor):
    grey = cv2.cvtColor(textured(3), cv2.COLOR_RGB2GRAY)
    from_grey, from_colour = extractor.extract(grey), extractor.extract(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    np.testing.assert_allclose(from_grey.keypoints, from_colour.keypoints, atol=1e-3)


def test_features_have_the_promised_shapes(extractor):
    features = extractor.extract(textured(4))
    assert features.keypoints.shape == (len(features), 2)
    assert features.descriptors.shape == (len(features), extractor.descriptor_dim)
    assert len(features) <= 256
    assert features.image_size == (320, 240)
    assert (np.diff(features.scores) <= 0).all()
    assert ((features.keypoints > 0) & (features.keypoints < [320, 240])).all()
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_uniform_image_has_no_features(extractor, value):
    features = extractor.extract(np.full((240, 320), value, np.uint8))
    assert len(features) == 0
    assert features.descriptors.shape == (0, 128)


def test_matching_with_an_empty_image_gives_nothing(extractor, matcher):
    some, none = extractor.extract(textured(5)), extractor.extract(np.zeros((240, 320), np.uint8))
    assert len(matcher.match(some, none)) == 0
    assert len(matcher.match(none, some)) == 0


def test_different_scenes_hardly_match(extractor, matcher):
    a, b = extractor.extract(textured(6)), extractor.extract(textured(7))
    assert len(matcher.match(a, b)) < 0.1 * min(len(a), len(b))


def test_the_order_of_calls_does_not_change_matches(extractor, matcher):
    a, b, c = (extractor.extract(textured(8 + index // 2)) for index in range(3))
    alone = matcher.match(a, b)
    matcher.match(a, c)
    matcher.match(c, b)
    np.testing.assert_array_equal(matcher.match(a, b).pairs, alone.pairs)


def test_half_precision_finds_nearly_the_same_matches(extractor, matcher):
    half = make_matcher(MatcherConfig(precision="bfloat16", device="cpu"))
    a, b = extractor.extract(textured(1)), extractor.extract(np.roll(textured(1), (9, -14), axis=(0, 1)))
    full_pairs, half_pairs = ({tuple(pair) for pair in one.match(a, b).pairs.tolist()} for one in (matcher, half))
    assert len(full_pairs & half_pairs) > 0.85 * len(full_pairs)


def test_descriptors_of_another_length_are_refused(matcher):
    wrong = LocalFeatures(np.ones((3, 2), np.float32), np.ones(3, np.float32), np.ones((3, 64), np.float32), (9, 9))
    with pytest.raises(ModelError, match="another extractor"):
        matcher.match(wrong, wrong)


def test_models_say_who_they_are(extractor, matcher):
    assert (extractor.info.name, extractor.info.licence) == ("aliked-n16", "BSD-3-Clause")
    assert (matcher.info.name, matcher.info.licence) == ("lightglue-aliked", "Apache-2.0")
    assert len(extractor.info.sha256) == len(matcher.info.sha256) == 64


@pytest.mark.parametrize("name", ["aliked-n16rot", "aliked-n32"])
def test_other_variants_load_and_find_features(name):
    features = make_extractor(FeatureConfig(name=name, max_keypoints=64)).extract(textured(1))
    assert len(features) == 64
