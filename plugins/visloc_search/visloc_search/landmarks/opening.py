"""Opens the landmarks of maps, and their recogniser, for a search."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, Map
from visloc_search.landmarks.config import LANDMARKS
from visloc_search.landmarks.landmark_files import load_landmark_map
from visloc_search.landmarks.landmark_map import LandmarkMap
from visloc_search.landmarks.point_recogniser import PointRecogniser
from visloc_search.landmarks.recogniser import (
    RECOGNISER_FILES,
    WEIGHTS_NAME,
    Recogniser,
    load_recogniser,
)
from visloc_search.landmarks.text_likelihood import TEXTS_NAME, TextLikelihood
from visloc_search.landmarks.tokens import Float32
from visloc_search.reduced_map.provenance import prepared_files

_LEAST = np.float32(1e-6)  # probability: of tokens that surely belong to another map nothing is known here


def open_landmarks_of(maps: Sequence[Map], device: str = "auto") -> list[tuple[LandmarkMap, RecogniserOfOneMap]]:
    """The landmarks of several maps, and the recogniser of each.

    A network that maps share is loaded once, and runs once for an image. Raises MapError where a map was not
    prepared, or its landmarks are broken or of another version of it; ModelError where the recogniser is.
    """
    recognisers: dict[bytes, Recogniser] = {}
    opened: list[tuple[LandmarkMap, RecogniserOfOneMap]] = []
    for map_ in maps:
        files, key = _files_of(map_), recogniser_checksum(map_)
        if key is None:
            landmarks = load_landmark_map(files, map_.manifest)
            opened.append((landmarks, RecogniserOfOneMap(PointRecogniser(landmarks), 0, landmarks.num_landmarks)))
            continue
        if key not in recognisers:
            loaded = load_recogniser(files, map_.manifest.models["extractor"].name, device)
            recognisers[key] = RememberingRecogniser(loaded) if len(maps) > 1 else loaded
        opened.append(_open(map_, recognisers[key]))
    return opened


def recogniser_checksum(map_: Map) -> bytes | None:
    """Checksum of a map's network, which maps share that were prepared together; None where points do without one.

    Raises MapError where the map was not prepared.
    """
    files = _files_of(map_)
    has_network = names_network(map_.manifest.prepared[LANDMARKS]) or not files.keys().isdisjoint(RECOGNISER_FILES)
    return hashlib.sha256(files.get(WEIGHTS_NAME, b"")).digest() if has_network else None


def names_network(entry: object) -> bool:
    """Whether a map was prepared with a network, by what its manifest says of its landmarks."""
    return isinstance(entry, dict) and "recogniser" in entry


def are_comparable(maps: Sequence[Map]) -> bool:
    """Whether what was learned of texts in several maps was learned together."""
    checksums = {recogniser_checksum(map_) for map_ in maps}
    if checksums != {None}:
        return len(checksums) == 1
    return prepared_together([map_.manifest for map_ in maps])


def prepared_together(manifests: Sequence[Manifest]) -> bool:
    """Whether maps were prepared in one call, by what their manifests say."""
    names = {manifest.name for manifest in manifests}
    prepared = [manifest.prepared.get(LANDMARKS, {}).get("maps", ()) for manifest in manifests]
    return all(names <= set(of_one) for of_one in prepared)


def open_texts(map_: Map, num_landmarks: int) -> TextLikelihood | None:
    """The likelihoods of a map's landmarks by texts; None where it was prepared without texts.

    Raises MapError where their file is broken.
    """
    content = _files_of(map_).get(TEXTS_NAME)
    return None if content is None else TextLikelihood.load(content, num_landmarks)


def _files_of(map_: Map) -> Mapping[str, bytes]:
    return prepared_files(map_, LANDMARKS, LANDMARKS)


def _open(map_: Map, recogniser: Recogniser) -> tuple[LandmarkMap, RecogniserOfOneMap]:
    landmarks = load_landmark_map(_files_of(map_), map_.manifest)
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


class RememberingRecogniser:
    """A recogniser that runs once for an image, however many maps use it."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._last: tuple[LocalFeatures, Float32] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return self._recogniser.num_classes

    @property
    def background_threshold(self) -> float:
        """Probability of background above which a token need not be matched."""
        return self._recogniser.background_threshold

    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C) of the classes of an image's keypoints."""
        last = self._last  # another thread may put another image there
        if last is None or last[0] is not features:
            last = self._last = features, self._recogniser.recognise(features)
        return last[1]


@dataclass(frozen=True)
class RecogniserOfOneMap:
    """A recogniser's landmarks of one map, without those of the other maps that it knows.

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
        """Probabilities (N, C) of background and of the map's landmarks, by Bayes' rule, given that map."""
        probabilities, first = self.of_all_maps.recognise(features), 1 + self.first_class
        own = probabilities[:, first : first + self.num_landmarks]
        of_both = np.concatenate((probabilities[:, :1], own), axis=1) + _LEAST
        return np.asarray(of_both / of_both.sum(axis=1, keepdims=True), np.float32)
