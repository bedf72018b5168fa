"""A tracked pose is localized against reference images a few times a second, and corrected in all frames between."""

from dataclasses import replace

import numpy as np
import pytest
from followed_room import RATE_HZ, FollowedRoom, error_of, shifted

from visloc_ros.map_tracking import MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints
from visloc_ros.map_tracking.reference_images import ReferenceImages, ReferenceLocalizer
from visloc_ros.map_tracking.views import GreyImage

CONFIG = MapTrackingConfig(reference_period_s=0.3)
OFF = shifted(0.05, 1.0)  # of all tracked poses, as after an anchor that errs


class CountedImages(ReferenceImages):
    """Reference images, and how often a pose was localized against them."""

    count = 0

    def locate(self, picture, guess):
        self.count += 1
        return super().locate(picture, guess)


@pytest.fixture(scope="module")
def room():
    """One of its own: anchors are drawn at random, and others count on theirs."""
    return FollowedRoom("strong")


@pytest.fixture(scope="module")
def points(room):
    return MapPoints(room.map_with_pictures())


@pytest.fixture(scope="module")
def images(room, points):
    return CountedImages(room.map_with_pictures(), points, CONFIG)


@pytest.fixture
def localizer(images, points):
    images.count = 0
    return ReferenceLocalizer(images, points.uncertainty, CONFIG)


def picture(room, index):
    frame = room.frame(index)
    return GreyImage(frame.stamp_ns, frame.grey, frame.camera, 1.0)


@pytest.fixture(scope="module")
def tracked(room, images):
    """A second of poses that are all off by the same, as following makes them."""
    located = [images.locate(picture(room, index), room.pose(index)) for index in range(RATE_HZ)]
    return [
        replace(one, fit=replace(one.fit, camera_from_world=(OFF @ room.pose(index)).inverse))
        for index, one in enumerate(located)
    ]


def test_a_few_localizations_correct_all_frames(room, localizer, images, tracked):
    found = [localizer.update(picture(room, index), one) for index, one in enumerate(tracked)]
    errors = [np.linalg.norm(error_of(one.map_from_camera, room.pose(i))[:3]) for i, one in enumerate(found)]
    assert images.count == 4
    assert np.max(errors) < 0.04 < np.linalg.norm(error_of(tracked[0].map_from_camera, room.pose(0))[:3])


def test_a_moved_pose_is_less_certain_than_the_localized_one(room, localizer, tracked):
    localized, after = (localizer.update(picture(room, index), tracked[index]) for index in (0, 2))
    assert np.linalg.eigvalsh(after.covariance - localized.covariance).sum() > 0.0
    assert np.trace(after.covariance[:3, :3]) < 4.0 * np.trace(localized.covariance[:3, :3])


def test_after_the_views_have_changed_it_localizes_anew(room, localizer, images, tracked):
    for index in (0, 1):
        localizer.update(picture(room, index), tracked[index])
        localizer.forget()
    assert images.count == 2


def test_a_failed_localization_leaves_the_last_one(room, localizer, tracked):
    late = RATE_HZ - 1
    localizer.update(picture(room, 0), tracked[0])
    dark = replace(picture(room, late), grey=np.zeros_like(picture(room, late).grey))
    found = localizer.update(dark, tracked[late])
    assert np.linalg.norm(error_of(found.map_from_camera, room.pose(late))[:3]) < 0.03


def test_without_any_localization_there_is_no_pose(room, localizer, tracked):
    dark = replace(picture(room, 0), grey=np.zeros_like(picture(room, 0).grey))
    assert localizer.update(dark, tracked[0]) is None
