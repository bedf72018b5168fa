import numpy as np
import pytest
from street_walk import FEATURES, POSES

from visloc_geo.photo_motion import DescribedPhoto, motion_of_photos
from visloc_ros.core.geometry import rotation_angle_deg, umeyama
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.sources import SourceConfig, open_source


@pytest.fixture(scope="module")
def models():
    return make_extractor(FEATURES), make_matcher()


def test_the_motion_between_photos_is_right_up_to_its_scale(street_walk, models):
    extractor, matcher = models
    frames = open_source(street_walk / "photos", SourceConfig(camera=str(street_walk / "camera.txt")))
    photos = [DescribedPhoto(row, frame.camera, extractor.extract(frame.image)) for row, frame in enumerate(frames)]
    motion = motion_of_photos(photos, matcher)
    assert [one.stamp_ns for one in motion] == [0, 1, 2]
    found = np.array([one.odom_from_camera.translation for one in motion])
    walked = np.array([pose.translation for pose in POSES])
    fit = umeyama(walked, found)
    assert np.linalg.norm(fit @ found - walked, axis=1).max() < 0.05
    turned = motion[-1].odom_from_camera.rotation
    assert rotation_angle_deg(turned, (POSES[0].inverse @ POSES[-1]).rotation) < 0.3


def test_photos_of_nothing_have_no_known_motion(street_walk, models):
    extractor, matcher = models
    frame = next(iter(open_source(street_walk / "photos")))
    nothing = extractor.extract(np.full_like(frame.image, 128))
    assert motion_of_photos([DescribedPhoto(row, frame.camera, nothing) for row in range(3)], matcher) == []
