"""Observations of another detector take the nearest keypoint of features that are extracted again."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fused_maps import distance, engine_of, prepared
from synthetic_map import DIM, INFO, FakeExtractor, near_image, unit

from visloc_ros.core.errors import CalibrationError, ConfigError
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import NO_POINT
from visloc_ros.core.types import Frame
from visloc_ros.mapping.collection import encode_thumbnail
from visloc_search.fused import preparation
from visloc_search.fused.preparation import NO_KEYPOINT, associate, with_new_features

SIFT = ModelInfo("another", "Apache-2.0", "b" * 64)


def test_the_nearest_within_five_pixels():
    keypoints = np.array([[10.0, 10.0], [13.0, 10.0], [50.0, 50.0]])
    observations = np.array([[11.0, 10.0], [12.0, 10.0], [50.0, 54.9], [50.0, 55.0], [90.0, 90.0]])
    assert associate(observations, keypoints).tolist() == [0, 1, 2, NO_KEYPOINT, NO_KEYPOINT]


def test_nothing_near_nothing():
    assert associate(np.empty((0, 2)), np.ones((3, 2))).tolist() == []
    assert associate(np.ones((2, 2)), np.empty((0, 2))).tolist() == [NO_KEYPOINT] * 2


class Redetector(FakeExtractor):
    """Finds the keypoints of an image of the world again, a little beside where the map has them, in another order."""

    def __init__(self, world):
        super().__init__(None)
        self.by_number = {}
        rng = np.random.default_rng(0)
        for number, image in enumerate(world.map.images):
            order = rng.permutation(len(image.features))
            features = image.features.take(order)
            self.by_number[number] = replace(
                features, keypoints=features.keypoints + rng.uniform(-1.0, 1.0, (len(order), 2)).astype(np.float32)
            )

    def extract(self, image):
        return self.by_number[int(image[0, 0])]


def frames_of(world):
    camera = world.camera
    return [
        Frame(number, np.full((camera.height, camera.width), number, np.uint8), camera, f"again/{image.name}")
        for number, image in enumerate(world.map.images)
    ]


def of_another_detector(map_):
    """The map as another detector would have made it, with descriptors that nobody can match."""
    rng = np.random.default_rng(5)
    images = [
        replace(one, features=replace(one.features, descriptors=unit(rng.normal(size=(len(one.features), DIM)))))
        for one in map_.images
    ]
    models = {**map_.manifest.models, "extractor": SIFT}
    return replace(map_, images=tuple(images), manifest=replace(map_.manifest, models=models))


def test_points_get_the_descriptors_of_the_new_features(fused_world):
    map_ = with_new_features(of_another_detector(fused_world.map), frames_of(fused_world), Redetector(fused_world))
    assert map_.manifest.models["extractor"] == INFO
    right = total = 0
    for image in map_.images:
        seen = image.point_rows != NO_POINT
        similarity = (image.features.descriptors[seen] * fused_world.descriptors[image.point_rows[seen]]).sum(axis=1)
        right, total = right + int((similarity > 0.9).sum()), total + int(seen.sum())
    assert right > 0.97 * total  # the others have a neighbour within a pixel or two


def test_such_a_map_is_prepared_and_searched_with_the_new_features(fused_world, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "make_extractor", lambda config: Redetector(fused_world))
    map_ = prepared(of_another_detector(fused_world.map), tmp_path / "map", frames=frames_of(fused_world))
    figures = map_.manifest.prepared["fused"]
    assert figures["points_percent"] == 100.0
    assert figures["extractor"]["name"] == INFO.name
    pose = near_image(fused_world)
    anchor = engine_of(map_).localize(fused_world.frame(), features=fused_world.view(pose))
    assert distance(anchor, pose) < 0.05


def test_frames_are_found_by_their_full_name_first(fused_world):
    frames = [replace(one, name=one.name.removeprefix("again/")) for one in frames_of(fused_world)[:2]]
    map_ = with_new_features(fused_world.map, [*frames, frames_of(fused_world)[0]], Redetector(fused_world))
    assert [image.name for image in map_.images] == [frame.name for frame in frames]


def of_two_folders(world, *names):
    """The first two images of the world under these names."""
    images = [replace(image, name=name) for image, name in zip(world.map.images, names, strict=False)]
    return replace(world.map, images=tuple(images), thumbnails={})


def textured_frames(world):
    """The first two frames, with pictures by which they differ."""
    rng = np.random.default_rng(1)
    for number, frame in enumerate(frames_of(world)[:2]):
        coarse = rng.integers(0, 256, (6, 8), dtype=np.uint8)
        image = cv2.resize(coarse, frame.image.shape[::-1], interpolation=cv2.INTER_NEAREST)
        image[0, 0] = number  # by which the detector knows it
        yield replace(frame, image=image, name="1.jpg")


def test_a_frame_that_is_called_as_images_of_two_folders_is_of_none_without_thumbnails(fused_world):
    with pytest.raises(ConfigError, match="no frame of the source is called as an image"):
        with_new_features(
            of_two_folders(fused_world, "a/1.jpg", "b/1.jpg"), textured_frames(fused_world), Redetector(fused_world)
        )


@pytest.mark.parametrize("names", [("a/1.jpg", "b/1.jpg"), ("1.jpg", "b/1.jpg")])
def test_thumbnails_distinguish_images_of_one_name(fused_world, names):
    first, second = textured_frames(fused_world)
    pictures = dict(zip(names, map(encode_thumbnail, (first.image, second.image)), strict=True))
    map_ = replace(of_two_folders(fused_world, *names), thumbnails=pictures)
    assert [one.name for one in with_new_features(map_, [second], Redetector(fused_world)).images] == [names[1]]
    assert [one.name for one in with_new_features(map_, [first], Redetector(fused_world)).images] == [names[0]]
    other = replace(second, image=255 - second.image)
    with pytest.raises(ConfigError, match="and looks like it"):
        with_new_features(map_, [other], Redetector(fused_world))


def test_frames_of_other_images_are_refused(fused_world):
    frames = [replace(one, name=f"other{one.stamp_ns}.png") for one in frames_of(fused_world)]
    with pytest.raises(ConfigError, match="no frame of the source is called as an image"):
        with_new_features(fused_world.map, frames, Redetector(fused_world))


@pytest.mark.parametrize("turns", [1, 2])
def test_maps_of_other_programs_have_photos_as_they_are_stored(fused_world, turns):
    frame = frames_of(fused_world)[0]
    turned = replace(frame, image=np.ascontiguousarray(np.rot90(frame.image, -turns)), clockwise_turns=turns)
    seen = []
    detector = Redetector(fused_world)
    detector.extract = lambda image: seen.append(image) or Redetector.extract(detector, image)
    with_new_features(replace(fused_world.map, thumbnails={}), [turned], detector)
    np.testing.assert_array_equal(seen[0], frame.image)


def test_frames_of_another_size_are_refused(fused_world):
    small = replace(frames_of(fused_world)[0], image=np.zeros((4, 4), np.uint8))
    with pytest.raises(CalibrationError):
        with_new_features(fused_world.map, [small], Redetector(fused_world))
