"""An exactly known room whose walls all cameras of a rig see, without images or networks."""

import numpy as np
import pycolmap
from synthetic_map import DIM, EXACT, INFO, MATCHER, World, unit

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.types import Frame
from visloc_ros.features import Vlad, VladConfig
from visloc_ros.features.types import OneByOne
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.rig import RigEngine, RigImage

LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # from optical axes to x forward, z up
MOUNTS = {"front": (0.0, (0.2, 0.0, 0.1)), "left": (90.0, (0.0, 0.15, 0.1)), "back": (180.0, (-0.2, 0.0, 0.1))}


def looking(degrees, position=(0.0, 0.0, 0.0), pitch=0.0):
    """A camera that looks in a direction about the vertical, 0 along x."""
    turn = rotation_matrix([0.0, 0.0, np.radians(degrees)]) @ rotation_matrix([0.0, np.radians(pitch), 0.0])
    return SE3(turn @ LEVEL, np.array(position))


class Room(World):
    """Points in the walls of a room of 8 x 8 x 3 metres, and images from its middle in all directions."""

    def __init__(self, seed=0, points=1600):
        self.rng = np.random.default_rng(seed)
        self.camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[480.0, 480.0, 322.0, 238.0])
        along, height = self.rng.uniform(-4.0, 4.0, points), self.rng.uniform(-1.5, 1.5, points)
        depth = 4.0 + self.rng.uniform(-0.8, 0.0, points)
        walls = rotation_matrix(np.arange(points)[:, None] % 4 * np.array([0.0, 0.0, np.pi / 2]))
        self.points = np.einsum("nij,nj->ni", walls, np.column_stack([depth, along, height]))
        self.descriptors = unit(self.rng.normal(size=(points, DIM)))
        images = tuple(
            self._image(f"{index:03d}.jpg", looking(30.0 * index, 0.5 * self.rng.uniform(-1.0, 1.0, 3)))
            for index in range(24)
        )
        vlad = Vlad.train([image.features.descriptors for image in images], VladConfig(clusters=8))
        vectors = np.stack([vlad.describe_features(image.features) for image in images])
        manifest = Manifest(
            "room", "synthetic", {"extractor": INFO}, metric=True, gravity_aligned=True, uncertainty=EXACT
        )
        self.map = Map("room", manifest, images, self.points, vectors, vlad.centroids)

    def _image(self, name, pose):
        features, rows = self.seen(pose)
        return MapImage(name, pose, self.camera, features, rows)

    def seen(self, pose, noise_px=0.5, keep=1.0, wrong=0.0, region=None):
        """Features at a pose, and the points that they show.

        A share is kept, of those within a region of the image alone (x, y, width, height); a share lies elsewhere.
        """
        pixels = project(self.camera, pose.inverse @ self.points)
        x, y, width, height = region or (0, 0, self.camera.width, self.camera.height)
        inside = ((pixels > [x, y]) & (pixels < [x + width, y + height])).all(axis=1)
        rows = np.flatnonzero(inside)
        rows = rows[self.rng.random(len(rows)) < keep]
        keypoints = pixels[rows] + self.rng.normal(0.0, noise_px, (len(rows), 2))
        is_wrong = self.rng.random(len(rows)) < wrong
        keypoints[is_wrong] = self.rng.uniform(
            [0, 0], [self.camera.width, self.camera.height], (int(is_wrong.sum()), 2)
        )
        return self.features_at(keypoints, rows.astype(np.int32)), rows.astype(np.int32)

    def clutter(self, count):
        """Features of things that are not in the map."""
        keypoints = self.rng.uniform([0, 0], [self.camera.width, self.camera.height], (count, 2))
        return self.features_at(keypoints, np.full(count, -1, np.int32))


def joined(one, other):
    """The features of both."""
    names = ("keypoints", "scores", "descriptors")
    return LocalFeatures(
        *(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names), one.image_size
    )


class FeaturesByImage(OneByOne):
    """Hands out the features of an image, whose pixels hold their number."""

    info = INFO
    descriptor_dim = DIM

    def __init__(self):
        self.known = []

    def image_of(self, features, camera):
        self.known.append(features)
        return np.full((camera.height, camera.width, 3), (*divmod(len(self.known) - 1, 256), 0), np.uint8)

    def extract(self, image):
        return self.known[256 * int(image[0, 0, 0]) + int(image[0, 0, 1])]


def turned(rig, name, degrees):
    """The rig with the place of a camera turned about its vertical axis."""
    turn = SE3(rotation_matrix([0.0, np.radians(degrees), 0.0]), np.zeros(3))
    return rig.with_place(name, rig.rig_from_camera(name) @ turn)


class RigInRoom:
    """A rig of cameras at right angles in the room, and its engine."""

    def __init__(self, world, names=("front", "left"), **options):
        world.rng = np.random.default_rng(0)  # whatever was drawn for other rigs
        self.world, self.extractor = world, FeaturesByImage()
        self.rig = Rig({name: RigCamera(looking(*MOUNTS[name]), world.camera) for name in names})
        self.engine = AnchorEngine(world.map, AnchorConfig(**options), self.extractor, MATCHER)
        self.mount(self.rig)

    def mount(self, claimed):
        """Search by the places of another rig than the one that takes the images."""
        self.rig_engine = RigEngine(self.engine, claimed)

    def frame(self, features, stamp_ns=1_000):
        return Frame(stamp_ns, self.extractor.image_of(features, self.world.camera), self.world.camera)

    def image(self, name, map_from_rig, stamp_ns=1_000, clutter=0, **seen):
        """The image of a camera of the rig at a pose, with features of things that are not in the map."""
        features, _ = self.world.seen(map_from_rig @ self.rig.rig_from_camera(name), **seen)
        return RigImage(self.frame(joined(features, self.world.clutter(clutter)), stamp_ns))

    def images(self, map_from_rig, **seen):
        return {name: self.image(name, map_from_rig, **seen) for name in self.rig.names}
