"""The map's thumbnails hold a tracked pose to the map, between anchors without drift."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from followed_room import RATE_HZ, error_of, shifted

from visloc_ros.core.errors import MapError
from visloc_ros.core.types import Frame, Rejection, TrackedPose
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints
from visloc_ros.map_tracking.reference_images import ReferenceImages, ReferenceLocalizer
from visloc_ros.map_tracking.views import GreyImage

NEAR = shifted(0.02, 0.3)


@pytest.fixture(scope="module")
def pictures(place):
    return ReferenceImages(place, MapPoints(place), MapTrackingConfig())


def picture(room, index):
    frame = room.frame(index)
    return GreyImage(frame.stamp_ns, frame.grey, frame.camera, 1.0)


def near(room, index):
    return NEAR @ room.pose(index)


@pytest.mark.parametrize("width", [320, 160])
def test_pictures_of_the_map_give_the_pose(room, place, width):
    """In another light, also from half as many pixels a side as the frames have; the map's sigma is 0.4 cm a point."""
    pictures = ReferenceImages(with_thumbnails(place, width), MapPoints(place), MapTrackingConfig())
    found = [pictures.locate(picture(room, index), near(room, index)) for index in range(0, 3 * RATE_HZ, 4)]
    errors = [error_of(one.map_from_camera, room.pose(4 * step)) for step, one in enumerate(found) if one is not None]
    assert len(errors) >= 0.8 * len(found)
    assert np.median(np.linalg.norm(np.array(errors)[:, :3], axis=1)) < 0.02


def with_thumbnails(place, width):
    """The map with thumbnails of this width, as maps of before have them."""
    size = (width, width * 3 // 4)
    thumbnails = {name: cv2.imdecode(np.frombuffer(data, np.uint8), 1) for name, data in place.thumbnails.items()}
    resized = {name: cv2.resize(image, size, interpolation=cv2.INTER_AREA) for name, image in thumbnails.items()}
    return replace(place, thumbnails={name: bytes(cv2.imencode(".jpg", one)[1]) for name, one in resized.items()})


def test_their_covariance_covers_their_errors(room, place, pictures):
    values, of_map = [], map_uncertainty(place)
    for index in range(0, 3 * RATE_HZ, 4):
        found = pictures.locate(picture(room, index), near(room, index))
        if found is not None:
            error = error_of(found.map_from_camera, room.pose(index))
            covariance = found.fit.covariance + of_map.of_image(found.map_from_camera.rotation)
            values.append(error @ np.linalg.solve(covariance, error))
    assert np.median(values) < 12.0


def test_there_is_no_pose_far_from_the_map_or_without_thumbnails(room, pictures):
    turned = replace(room.pose(0), rotation=room.pose(0).rotation @ np.diag([-1.0, 1.0, -1.0]))
    assert pictures.locate(picture(room, 0), turned) is None
    bare = ReferenceImages(room.map, MapPoints(room.map), MapTrackingConfig())
    assert bare.locate(picture(room, 0), room.pose(0)) is None


@pytest.mark.parametrize("broken", [b"", b"no picture", b"\xff\xd8\xff\xe0\x00"])
def test_a_broken_thumbnail_is_refused_in_words(place, broken):
    name = place.images[0].name
    with pytest.raises(MapError, match=f"thumbnail of the map's image '{name}'"):
        MapTracker(replace(place, thumbnails={**place.thumbnails, name: broken}))


def test_a_thumbnail_of_another_shape_is_refused(place, room):
    camera = type(room.camera)(model="PINHOLE", width=320, height=180, params=[240, 240, 160, 90])
    first = replace(place.images[0], camera=camera)
    with pytest.raises(MapError, match="another image"):
        MapTracker(replace(place, images=(first, *place.images[1:])))


def test_where_the_anchor_s_points_fail_the_pictures_go_on(room, place):
    """More points are asked for than are looked for in the views: what is left is the map."""
    results = {}
    for map_ in (room.map, place):
        tracker = MapTracker(map_, MapTrackingConfig(max_points=20, min_inliers=25))
        tracker.track(room.frame(0))
        tracker.restart(room.anchor(0))
        results[map_] = tracker.track(room.frame(1))
    assert isinstance(results[room.map], Rejection)
    assert isinstance(results[place], TrackedPose)
    assert np.linalg.norm(error_of(results[place].map_from_camera, room.pose(1))[:3]) < 0.05


def test_an_exact_map_errs_less_than_one_of_shaken_images(room):
    """The covariance is that of the errors which the images' poses were given; nothing else tells it."""
    rng = np.random.default_rng(0)
    exact = image_covariance(room.map)
    images = [
        replace(image, map_from_camera=shifted_in_camera(image.map_from_camera, rng)) for image in room.map.images
    ]
    shaken = image_covariance(replace(room.map, images=tuple(images)))
    assert np.sqrt(np.trace(exact[3:, 3:])) < 0.3 * np.sqrt(np.trace(shaken[3:, 3:]))
    assert np.sqrt(np.trace(shaken[3:, 3:]) / 3) == pytest.approx(0.01, rel=0.5)


def image_covariance(map_):
    return map_uncertainty(map_).of_image(np.eye(3))


def shifted_in_camera(pose, rng):
    turn = type(pose).from_rotation_vector(rng.normal(0.0, 0.01, 3), np.zeros(3))
    return pose @ turn


def test_errors_wander_off_with_the_way_until_nothing_is_in_common(place):
    errors = map_uncertainty(place)
    changes = (0.1 * errors.info.nearest_change, 50.0, 100.0)
    near, far, farther = (np.trace(errors.of_difference(np.eye(3), change)) for change in changes)
    assert near < far == farther
    assert np.trace(errors.of_difference(np.eye(3), 0.0)) == 0.0


def test_a_map_whose_images_share_nothing_has_no_error_estimate(room):
    assert np.trace(image_covariance(replace(room.map, images=room.map.images[:1]))) == 0.0


def test_frames_of_another_size_than_the_map_are_located(room, pictures):
    """A thumbnail is a thumbnail: frames of its width and of twice as much shrink to the same."""
    frame = room.frame(0)
    large = Frame(frame.stamp_ns, np.kron(frame.grey, np.ones((2, 2), np.uint8)), frame.camera)
    camera = type(room.camera)(model=frame.camera.model, width=320, height=240, params=frame.camera.params.copy())
    camera.rescale(640, 480)
    found = pictures.locate(GreyImage(0, large.grey, camera, 1.0), near(room, 0))
    assert found is not None
    assert np.linalg.norm(error_of(found.map_from_camera, room.pose(0))[:3]) < 0.03


def test_what_the_map_is_off_by_there_changes_the_covariance_and_not_the_pose(room, place):
    """Its images share it with the anchor: it is no reason to weigh one against the other."""
    anchor = room.anchor(0, shifted(0.02))
    of_map = np.diag([0.2**2] * 3 + [0.05**2] * 3)
    uncertain = replace(anchor, covariance=anchor.covariance + of_map, map_covariance=of_map)
    exact, inexact = followed(room, place, anchor), followed(room, place, uncertain)
    np.testing.assert_allclose(exact.map_from_camera.matrix, inexact.map_from_camera.matrix, atol=1e-12)
    added = np.diag(inexact.covariance - exact.covariance)
    assert np.all(added >= np.diag(of_map) - 1e-12)
    np.testing.assert_allclose(exact.covariance_since_anchor, inexact.covariance_since_anchor, atol=1e-12)


def followed(room, place, anchor, frames=4):
    """The last pose of some frames after an anchor."""
    tracker = MapTracker(place)
    tracker.track(room.frame(0))
    tracker.restart(anchor)
    return [tracker.track(room.frame(index)) for index in range(1, frames + 1)][-1]


CONFIG = MapTrackingConfig(reference_period_s=0.3)
OFF = shifted(0.05, 1.0)  # of all tracked poses, as after an anchor that errs


class CountedImages(ReferenceImages):
    """Reference images, and how often a pose was localized against them."""

    count = 0

    def locate(self, picture, guess):
        self.count += 1
        return super().locate(picture, guess)


@pytest.fixture(scope="module")
def points(place):
    return MapPoints(place)


@pytest.fixture(scope="module")
def images(place, points):
    return CountedImages(place, points, CONFIG)


@pytest.fixture
def localizer(images, points):
    images.count = 0
    return ReferenceLocalizer(images, points.uncertainty, CONFIG)


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


def test_after_the_views_have_changed_it_localizes_again(room, localizer, images, tracked):
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
