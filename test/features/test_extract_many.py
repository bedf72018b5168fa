"""Features of several images at once, against those of each image alone."""

import cv2
import numpy as np
import pytest

from visloc_ros.features import FeatureConfig, make_extractor

BATCH_SIZE = 3
ROUNDING_PX, ROUNDING = 1e-3, 1e-4  # a batch may add in another order
HALF_ROUNDING_PX, HALF_ROUNDING = 0.05, 0.05


@pytest.fixture(scope="module")
def photos(shared_data):
    """Three views of a kitchen, 320x240."""
    files = sorted((shared_data / "7scenes_redkitchen" / "rgb").glob("*.jpg"))[:300:100]
    return [cv2.resize(cv2.imread(str(file)), (320, 240), interpolation=cv2.INTER_AREA) for file in files]


@pytest.fixture(scope="module")
def mixed(photos):
    """Images of three shapes, none beside its like; one shows nothing."""
    first, second, third = photos
    grey = cv2.cvtColor(second, cv2.COLOR_BGR2GRAY)
    nothing = np.full_like(first, 128)
    return [first, grey[:150, :211], nothing, second[:200, :310], grey, third, first[:200, :310], second, grey[::-1]]


def extractor_of(precision="float32", batch_size=BATCH_SIZE):
    extractor = make_extractor(FeatureConfig(max_keypoints=128, precision=precision, device="cpu"))
    extractor.batch_size = batch_size
    return extractor


def assert_same(found, expected, rounding_px, rounding):
    """The same features, but for rounding, which may exchange those of equal strength, and the last for another."""
    assert found.image_size == expected.image_size
    assert len(found) == len(expected)
    if not len(found):
        return
    distances = np.linalg.norm(found.keypoints[:, None] - expected.keypoints[None], axis=2)
    partner, same = distances.argmin(axis=1), distances.min(axis=1) < rounding_px
    assert same.sum() >= len(found) - 1
    np.testing.assert_allclose(found.scores, expected.scores, atol=rounding)
    np.testing.assert_allclose(found.descriptors[same], expected.descriptors[partner[same]], atol=rounding)


def test_several_images_have_the_features_that_each_has_alone(mixed):
    extractor = extractor_of()
    found = extractor.extract_many(mixed)
    assert len(found) == len(mixed)
    for one, image in zip(found, mixed, strict=True):
        assert_same(one, extractor.extract(image), ROUNDING_PX, ROUNDING)
    assert [len(one) == 0 for one in found] == [image.std() == 0 for image in mixed]
    assert min(len(one) for one in found if len(one)) > 50


def test_half_precision_takes_batches_too(photos):
    extractor = extractor_of("bfloat16")
    for one, image in zip(extractor.extract_many(photos), photos, strict=True):
        assert_same(one, extractor.extract(image), HALF_ROUNDING_PX, HALF_ROUNDING)


def test_images_of_one_shape_are_worked_off_in_batches(monkeypatch, mixed):
    extractor, shapes = extractor_of(), []
    run = extractor.network.forward
    monkeypatch.setattr(
        extractor.network, "forward", lambda x, *options: shapes.append(tuple(x.shape)) or run(x, *options)
    )
    extractor.extract_many(mixed)
    colour, grey = (3, 3, 240, 320), (2, 3, 240, 320)
    assert shapes == [colour, (1, 3, 240, 320), (1, 3, 150, 211), (2, 3, 200, 310), grey]


def test_images_that_are_reduced_to_one_size_have_their_own_pixels(photos):
    extractor = make_extractor(FeatureConfig(max_keypoints=128, precision="float32", resize_max=160, device="cpu"))
    extractor.batch_size = 2
    large = cv2.resize(photos[0], (640, 480))
    for one, image in zip(extractor.extract_many([large, photos[0]]), (large, photos[0]), strict=True):
        assert_same(one, extractor.extract(image), 4 * ROUNDING_PX, ROUNDING)


def test_one_at_a_time_nothing_is_rounded_otherwise(photos):
    extractor = extractor_of(batch_size=1)
    for one, image in zip(extractor.extract_many(photos), photos, strict=True):
        alone = extractor.extract(image)
        for name in ("keypoints", "scores", "descriptors"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))


@pytest.mark.parametrize("name", ["aliked-n16", "sift"])
def test_on_a_processor_images_are_taken_one_by_one_and_none_give_nothing(name):
    extractor = make_extractor(FeatureConfig(name=name, device="cpu"))
    assert extractor.batch_size == 1
    assert extractor.extract_many([]) == []


def test_an_extractor_without_batches_takes_several_all_the_same(photos):
    extractor = make_extractor(FeatureConfig(name="sift", max_keypoints=64))
    for one, image in zip(extractor.extract_many(photos), photos, strict=True):
        np.testing.assert_array_equal(one.keypoints, extractor.extract(image).keypoints)
