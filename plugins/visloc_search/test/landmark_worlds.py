"""Synthetic maps that are prepared for the search by landmarks, without a trained network."""

from dataclasses import replace

import numpy as np
from synthetic_map import unit

from visloc_search.landmarks.clustering import label_points
from visloc_search.landmarks.config import LANDMARKS, LandmarkConfig
from visloc_search.landmarks.landmark_files import save_landmark_map
from visloc_search.landmarks.landmark_map import reduce_map
from visloc_search.landmarks.recogniser import WEIGHTS_NAME

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
