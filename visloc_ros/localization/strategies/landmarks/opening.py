"""What a map holds of landmarks, as what searches by them needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.localization.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.landmark_files import load_landmark_map
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.recogniser import Recogniser, load_recogniser
from visloc_ros.localization.strategies.landmarks.tokens import Float32


def open_landmarks(map_: Map, device: str = "auto") -> tuple[LandmarkMap, Recogniser]:
    """The landmarks of a map, and what recognises them.

    Raises MapError where the map was not prepared, or its landmarks are broken or of another version of it; ModelError
    where the recogniser is.
    """
    files = map_.prepared.get(LANDMARKS)
    if files is None:
        raise MapError(
            f"the map '{map_.name}' holds no landmarks: make them with 'visloc prepare MAP --for {LANDMARKS}', or set "
            "anchor.search to 'retrieval'"
        )
    landmarks = load_landmark_map(files, map_.manifest)
    recogniser = load_recogniser(files, map_.manifest.models["extractor"].name, device)
    first = _first_class(map_.manifest.prepared[LANDMARKS])
    if first + landmarks.num_landmarks >= recogniser.num_classes:
        raise MapError(
            f"the recogniser of the map '{map_.name}' knows {recogniser.num_classes - 1} landmarks, not those of this "
            f"map: run 'visloc prepare MAP --for {LANDMARKS}' again"
        )
    return landmarks, RecogniserOfOneMap(recogniser, first, landmarks.num_landmarks)


def _first_class(entry: Mapping[str, Any]) -> int:
    first = entry.get("first_class") if isinstance(entry, dict) else None
    if type(first) is not int or first < 0:
        raise MapError(f"the manifest garbles its landmarks: run 'visloc prepare MAP --for {LANDMARKS}' again")
    return first


@dataclass(frozen=True)
class RecogniserOfOneMap:
    """The landmarks of one of the maps that a recogniser knows; what it takes for another map is background here.

    Landmark ``n`` is class ``first_class + n`` of ``of_all_maps``, and class ``n`` here.
    """

    of_all_maps: Recogniser
    first_class: int
    num_landmarks: int

    @property
    def num_classes(self) -> int:
        """Landmarks of the map, and background."""
        return self.num_landmarks + 1

    @property
    def background_threshold(self) -> float:
        """Probability of background above which a token need not be matched."""
        return self.of_all_maps.background_threshold

    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C) of background and of the map's landmarks."""
        return self.of_this_map(self.of_all_maps.recognise(features))

    def of_this_map(self, probabilities: Float32) -> Float32:
        """Probabilities (N, C) here of those of all maps."""
        first = 1 + self.first_class
        own = probabilities[:, first : first + self.num_landmarks]
        background = 1.0 - own.sum(axis=1, keepdims=True)
        return np.asarray(np.concatenate((background.clip(0.0, 1.0), own), axis=1), np.float32)
