"""The map's pictures are looked at now and then: a followed pose stays held to the map in between."""

from dataclasses import replace

import numpy as np
import pytest
from followed_room import RATE_HZ, FollowedRoom, error_of, shifted

from visloc_ros.map_tracking import MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints
from visloc_ros.map_tracking.reference_images import ReferenceImages
from visloc_ros.map_tracking.reference_localization import ReferenceLocalizer
from visloc_ros.map_tracking.views import GreyImage

CONFIG = MapTrackingConfig(reference_period_s=0.3)
OFF = shifted(0.05, 1.0)  # of all followed poses, as after an anchor that errs


class CountedPictures(ReferenceImages):
    """The pictures of a map, and how often they were looked at."""

    looks = 0

    def locate(self, picture, guess):
        self.looks += 1
        return super().locate(picture, guess)


@pytest.fixture(scope="module")
def room():
    """One of its own: anchors are drawn at random, and others count on theirs."""
    return FollowedRoom("strong")


@pytest.fixture(scope="module")
def points(room):
    return MapPoints(room.map_with_pictures())


@pytest.fixture(scope="module")
def pictures(room, points):
    return CountedPictures(room.map_with_pictures(), points, CONFIG)


@pytest.fixture
def looks(pictures, points):
    pictures.looks = 0
    return ReferenceLocalizer(pictures, points.pose_errors, CONFIG)


def picture(room, index):
    frame = room.frame(index)
    return GreyImage(frame.stamp_ns, frame.grey, frame.camera, 1.0)


@pytest.fixture(scope="module")
def followed(room, pictures):
    """A second of poses that are all off by the same, as following makes them."""
    located = [pictures.locate(picture(room, index), room.pose(index)) for index in range(RATE_HZ)]
    return [
        replace(one, fit=replace(one.fit, camera_from_map=(OFF @ room.pose(index)).inverse))
        for index, one in enumerate(located)
    ]


def test_a_pose_is_held_to_the_map_in_all_frames_by_a_few_looks(room, looks, pictures, followed):
    told = [looks.tell(picture(room, index), one) for index, one in enumerate(followed)]
    errors = [np.linalg.norm(error_of(one.map_from_camera, room.pose(i))[:3]) for i, one in enumerate(told)]
    assert pictures.looks == 4
    assert np.max(errors) < 0.04 < np.linalg.norm(error_of(followed[0].map_from_camera, room.pose(0))[:3])


def test_what_is_carried_on_is_less_sure_than_the_look(room, looks, followed):
    at_look, after = (looks.tell(picture(room, index), followed[index]) for index in (0, 2))
    assert np.linalg.eigvalsh(after.covariance - at_look.covariance).sum() > 0.0
    assert np.trace(after.covariance[:3, :3]) < 4.0 * np.trace(at_look.covariance[:3, :3])


def test_after_the_views_have_changed_it_looks_anew(room, looks, pictures, followed):
    for index in (0, 1):
        looks.tell(picture(room, index), followed[index])
        looks.forget()
    assert pictures.looks == 2


def test_a_look_that_tells_nothing_leaves_the_last_one(room, looks, followed):
    late = RATE_HZ - 1
    looks.tell(picture(room, 0), followed[0])
    dark = replace(picture(room, late), grey=np.zeros_like(picture(room, late).grey))
    told = looks.tell(dark, followed[late])
    assert np.linalg.norm(error_of(told.map_from_camera, room.pose(late))[:3]) < 0.03


def test_where_no_look_told_anything_the_map_tells_nothing(room, looks, followed):
    dark = replace(picture(room, 0), grey=np.zeros_like(picture(room, 0).grey))
    assert looks.tell(dark, followed[0]) is None
