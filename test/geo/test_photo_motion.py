import numpy as np
import pytest

from visloc_ros.core.geometry import rotation_angle_deg, umeyama
from visloc_ros.core.types import Frame
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.geo.photo_motion import motion_of_photos
from visloc_ros.simulation.street import make_street
from visloc_ros.simulation.street_views import photos, walk

LENGTH_M = 28.0


@pytest.fixture(scope="module")
def models():
    return make_extractor(), make_matcher()


def test_the_motion_between_photos_is_right_up_to_its_scale(models):
    extractor, matcher = models
    truth = walk(5, 1.0, LENGTH_M, seed=4)
    frames = list(photos(make_street(4, LENGTH_M), truth))
    motion = motion_of_photos(frames, [extractor.extract(frame.image) for frame in frames], matcher)
    assert [one.stamp_ns for one in motion] == [0, 1, 2, 3, 4]
    found = np.array([one.odom_from_camera.translation for one in motion])
    walked = np.array([pose.translation for pose in truth])
    fit = umeyama(walked, found)
    assert np.linalg.norm(fit @ found - walked, axis=1).max() < 0.05
    turned = motion[-1].odom_from_camera.rotation
    assert rotation_angle_deg(turned, (truth[0].inverse @ truth[-1]).rotation) < 0.3


def test_photos_of_nothing_have_no_known_motion(models):
    extractor, matcher = models
    (pose,) = walk(1, 1.0, LENGTH_M)
    camera = next(photos(make_street(4, LENGTH_M), [pose])).camera
    blank = [Frame(row, np.full((600, 800, 3), 128, np.uint8), camera, str(row)) for row in range(3)]
    assert motion_of_photos(blank, [extractor.extract(one.image) for one in blank], matcher) == []
