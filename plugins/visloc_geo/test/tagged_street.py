"""A street whose points have descriptors of their own, so that its views are matched without images."""

from dataclasses import dataclass

import numpy as np

from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.keypoint_files import write_keypoints
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.orientation import angles_of, rotation_of
from visloc_geo.view import Orientation, View
from visloc_ros.core.camera import camera_from_params, project
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.sources.measurements import GeoPosition

CAMERA = camera_from_params("PINHOLE", 640, 480, [400.0, 400.0, 320.0, 240.0])
ORIGIN = EnuFrame(55.7, 13.2, 40.0)
NORTH = rotation_of(0.0)
FEW_VIEWS = GeoConfig(k=4)
"""Views of a place that are enough here, and take a third of the time of ten."""

_DIM, _POINTS, _LENGTH = 64, 1500, 150.0


@dataclass(frozen=True, eq=False)
class Street:
    """A street that leads north from a place: the points of both facades (N, 3), and their descriptors (N, 64)."""

    points: np.ndarray
    descriptors: np.ndarray

    @staticmethod
    def at(east, north, seed):
        """The street that begins at a place in the frame of ORIGIN."""
        rng = np.random.default_rng(seed)
        points = rng.uniform([0.0, 0.0, -2.0], [0.6, _LENGTH, 8.0], (_POINTS, 3))
        points[:, 0] += np.where(rng.random(_POINTS) < 0.5, -10.0, 10.0)
        descriptors = rng.normal(size=(_POINTS, _DIM))
        return Street(
            points + np.array([east, north, 0.0]), descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
        )

    def seen_from(self, enu_from_camera, seed=0):
        """Local features of a view, with half a pixel of noise."""
        in_camera = enu_from_camera.inverse @ self.points
        with np.errstate(invalid="ignore", divide="ignore"):
            pixels = project(CAMERA, in_camera)
            seen = (in_camera[:, 2] > 1.0) & (in_camera[:, 2] < 60.0)
            seen &= np.all((pixels > 0.0) & (pixels < [640.0, 480.0]), axis=1)
        rng = np.random.default_rng(seed)
        noisy = (pixels[seen] + rng.normal(0.0, 0.5, (int(seen.sum()), 2))).astype(np.float32)
        return LocalFeatures(noisy, np.ones(len(noisy), np.float32), self.descriptors[seen], (640, 480))


def global_descriptor(features):
    """The mean of the local descriptors, as a unit vector."""
    mean = features.descriptors.mean(axis=0) if len(features) else np.zeros(_DIM)
    return (mean / max(np.linalg.norm(mean), 1e-12)).astype(np.float32)


def add_view(database, name, street, pose, sigma_m=0.05):
    """Add what a camera sees, with its true position and heading."""
    heading, pitch, roll = angles_of(pose.rotation)
    position = GeoPosition(*ORIGIN.to_geodetic(pose.translation)[0], sigma_m)
    database.add(View(name, position, Orientation(heading, pitch, roll, 0.1), CAMERA))
    features = street.seen_from(pose, seed=len(name))
    write_keypoints(database.keypoints_path(name), features, "sift")
    np.save(database.descriptor_path(name, "vlad"), global_descriptor(features)[None])


def make_database(folder, streets):
    """Views every 8 m along each street, on both sides of its axis."""
    database = GeoDatabase.create(folder, ORIGIN)
    for number, street in enumerate(streets):
        north = street.points[:, 1].min()
        east = (street.points[:, 0].min() + street.points[:, 0].max()) / 2.0
        for step in range(12):
            at = np.array([east + (-1.5 if step % 2 else 1.5), north + 8.0 * step, 0.0])
            add_view(database, f"street{number}_{step:02d}", street, SE3(NORTH, at))
    return database


class FakeDescriber:
    """Gives the features that stand for an image, by the number in its first pixel."""

    def __init__(self, features):
        self.features = features

    def describe(self, image):
        """Features and global descriptor."""
        one = self.features[int(np.ravel(image[0, 0])[0])]
        return one, global_descriptor(one)


def localizer_of(database, features, config=FEW_VIEWS):
    """A localizer for photos that show these features."""
    return GeoLocalizer(database, config, describer=FakeDescriber(features), matcher=NearestMatcher(0.5))


def photo(number=0):
    """The photo of a number."""
    return Frame(1000 + number, np.full((480, 640), number, np.uint8), CAMERA, f"{number}.jpg")
