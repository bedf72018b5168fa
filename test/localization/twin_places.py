"""A place twice in one map, alike but for a few points, maps by other names, and hints of where a camera is."""

from dataclasses import replace

import numpy as np
from synthetic_map import DIM, World, near_image, unit

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.localization import PositionHint, SearchHint

AWAY = np.array([50.0, 0.0, 0.0])
FAR = np.array([0.0, 400.0, 0.0])
HALF_TURN = SE3(rotation_matrix([0.0, 0.0, np.pi]), np.zeros(3))


def named(map_, name):
    return replace(map_, name=name, manifest=replace(map_.manifest, name=name))


class Twins(World):
    """A synthesized scene twice in one map, the second time AWAY and with a share of other points.

    What is changed looks different in the second one. ``second_from_first`` tells where the second one is, and a view
    is of that copy in which the camera is, or of the one that is named.
    """

    def __init__(self, changed=0.1, seed=0, second_from_first=None):
        self.second_from_first = SE3(np.eye(3), AWAY) if second_from_first is None else second_from_first
        super().__init__(seed)
        one, self.single = self.map, len(self.points)
        other = np.flatnonzero(self.rng.random(self.single) < changed)
        copied = self.descriptors.copy()
        copied[other] = unit(self.rng.normal(size=(len(other), DIM)))
        self.descriptors = np.concatenate([self.descriptors, copied])
        self.points = np.concatenate([self.points, self.second_from_first @ self.points])
        self.map = replace(
            one,
            images=(*one.images, *(self._moved(image) for image in one.images)),
            points=self.points,
            global_descriptors=np.tile(one.global_descriptors, (2, 1)),
        )

    def _moved(self, image):
        rows = np.where(image.point_rows >= 0, image.point_rows + self.single, image.point_rows).astype(np.int32)
        pose = self.second_from_first @ image.map_from_camera
        features = self.features_at(image.features.keypoints, rows)
        return replace(image, name=f"again_{image.name}", map_from_camera=pose, point_rows=rows, features=features)

    def view(self, map_from_camera, second=None, **options):
        """What a camera sees of one copy of the scene alone."""
        points, descriptors = self.points, self.descriptors
        if second is None:
            second = bool(map_from_camera.translation[0] > AWAY[0] / 2)
        mine = slice(self.single, None) if second else slice(None, self.single)
        try:
            self.points, self.descriptors = points[mine], descriptors[mine]
            return super().view(map_from_camera, **options)
        finally:
            self.points, self.descriptors = points, descriptors


def moved(pose, offset=AWAY):
    return SE3(pose.rotation, pose.translation + offset)


def levelled(map_):
    return replace(map_, manifest=replace(map_.manifest, gravity_aligned=True))


def heading_of(pose):
    axis = pose.rotation[:, 2]
    return float(np.arctan2(axis[1], axis[0]))


def poses(twins):
    """Poses near those of every third image of the map, in both places."""
    return [near_image(twins, row) for row in range(0, len(twins.map.images), 3)]


def at(position, sigma_m):
    return SearchHint(PositionHint(position, sigma_m))


def localize(engine, twins, pose, hint=None):
    return engine.localize(twins.frame(), features=twins.view(pose), hint=hint)


def views_of_ends(world):
    """Poses in both ends, and whether it is the second one."""
    half = len(world.map.images) // 2
    return [(near_image(world, row), row >= half) for row in range(len(world.map.images))]
