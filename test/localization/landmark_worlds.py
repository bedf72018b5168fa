"""Synthetic maps that are prepared for the search by landmarks, without a trained network, and two places alike."""

from dataclasses import replace

import numpy as np
from synthetic_map import DIM, World, unit

from visloc_ros.core.geometry import SE3
from visloc_ros.localization.strategies.landmarks.clustering import label_points
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS, LandmarkConfig
from visloc_ros.localization.strategies.landmarks.landmark_files import save_landmark_map
from visloc_ros.localization.strategies.landmarks.landmark_map import reduce_map
from visloc_ros.localization.strategies.landmarks.recogniser import WEIGHTS_NAME

AWAY = np.array([50.0, 0.0, 0.0])
DEFAULTS = LandmarkConfig()


def make_landmark_map(map_, config=DEFAULTS):
    return reduce_map(map_, label_points(map_, config), config)


class NearestRecogniser:
    """A keypoint shows the landmark of the most similar map point, and background where none is similar."""

    background_threshold = 0.95

    def __init__(self, descriptors, labels, num_classes):
        self._descriptors, self._labels, self.num_classes = descriptors.astype(np.float32), labels, num_classes

    def recognise(self, features):
        best = np.full((len(features), self.num_classes), 0.7, np.float32)
        similarity = unit(features.descriptors.astype(np.float32)) @ self._descriptors.T
        for label in range(1, self.num_classes):
            best[:, label] = similarity[:, self._labels == label].max(axis=1)
        odds = np.exp((best - best.max(axis=1, keepdims=True)) / 0.05)
        return odds / odds.sum(axis=1, keepdims=True)


def named(map_, name):
    return replace(map_, name=name, manifest=replace(map_.manifest, name=name))


class PreparedTogether:
    """Maps with the landmarks of each numbered after those of the ones before, and what recognises all of them."""

    def __init__(self, maps, folder, weights=b"weights"):
        self.calls = 0
        self.landmarks = [make_landmark_map(map_, LandmarkConfig(num_landmarks=6)) for map_ in maps]
        counts = [one.num_landmarks for one in self.landmarks]
        self.first_classes = [sum(counts[:row]) for row in range(len(counts))]
        descriptors = [one.points.descriptors for one in self.landmarks]
        labels = [one.labels + first for one, first in zip(self.landmarks, self.first_classes, strict=True)]
        self._nearest = NearestRecogniser(np.concatenate(descriptors), np.concatenate(labels), 1 + sum(counts))
        self.num_classes = self._nearest.num_classes
        self.background_threshold = self._nearest.background_threshold
        self.maps = [self._prepared(row, map_, folder, weights) for row, map_ in enumerate(maps)]

    def _prepared(self, row, map_, folder, weights):
        path = folder / map_.name
        path.mkdir(parents=True)
        save_landmark_map(path, self.landmarks[row])
        files = {file.name: file.read_bytes() for file in path.iterdir()} | {WEIGHTS_NAME: weights}
        manifest = replace(map_.manifest, prepared={LANDMARKS: {"first_class": self.first_classes[row]}})
        return replace(map_, manifest=manifest, prepared={LANDMARKS: files})

    def recognise(self, features):
        self.calls += 1
        return self._nearest.recognise(features)


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
