"""Focal lengths that photos state beside those that structure from motion finds."""

from dataclasses import dataclass

import pycolmap
import pytest

from visloc_ros.core.camera import with_focal_length
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.rigid_parts import only_images
from visloc_ros.mapping.stated_focal_lengths import contradicted_cameras, contradiction, explains_more, hold_cameras


@dataclass(frozen=True)
class Photo:
    """What is asked of a frame."""

    name: str
    camera: MapCamera


@pytest.fixture(scope="module")
def model(scene):
    """A model whose camera has 500 px."""
    return triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), ReconstructionConfig(threads=1))


def photos(scene, stated_px, sigma, *, calibrated=False):
    camera = MapCamera(with_focal_length(scene.camera, stated_px), calibrated, sigma)
    return [Photo(view.name, camera) for view in scene.views]


@pytest.mark.parametrize(
    ("stated_px", "sigma", "is_contradicted"),
    [(540.0, 0.04, False), (690.0, 0.04, True), (690.0, 0.35, False), (690.0, 0.0, False)],
)
def test_a_stated_focal_length_is_contradicted_beyond_three_sigma(scene, model, stated_px, sigma, is_contradicted):
    frames = photos(scene, stated_px, sigma)
    assert contradicted_cameras(model, frames) == ([frames[0].camera] if is_contradicted else [])


def test_a_calibration_is_not_held_against_it(scene, model):
    assert contradicted_cameras(model, photos(scene, 690.0, 0.04, calibrated=True)) == []


def test_held_cameras_are_one_object_and_calibrated(scene):
    frames = photos(scene, 690.0, 0.04)
    held = hold_cameras(frames, [frames[0].camera])
    assert len({id(frame.camera) for frame in held}) == 1
    assert (held[0].camera.calibrated, held[0].camera.focal_sigma) == (True, 0.04)


def test_more_images_count_for_what_is_held(model):
    whole, part = Component(model), Component(only_images(pycolmap.Reconstruction(model), [1, 2, 3, 4]))
    assert explains_more(whole, part)
    assert not explains_more(part, whole)
    assert not explains_more(whole, whole)


def test_the_words_name_both(scene, model):
    said = contradiction([photos(scene, 690.0, 0.04)[0].camera], Component(model))
    assert "(500 px) contradicts their EXIF data (690 px to 4 %)" in said
