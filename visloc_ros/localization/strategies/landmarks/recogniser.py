"""Recognisers of landmarks: a Protocol over plain arrays, and nearest neighbours as the baseline."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, unit_descriptors

_LEAST_COSINE = 0.7
_PRAM_THRESHOLD = 0.95
_SPREAD = 0.05  # a cosine that is larger by this is e times as probable


class Recogniser(Protocol):
    """Recognises the landmark that each keypoint shows."""

    @property
    def num_classes(self) -> int:
        """Number of classes C: the landmarks and, as class 0, background."""
        ...

    @property
    def background_threshold(self) -> float:
        """Probability of background above which a token need not be matched (``calibration.py``)."""
        ...

    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C) float32 of the classes of an image's keypoints."""
        ...


class NearestRecogniser:
    """A token is of the landmark of the most similar map point, and background where none is similar.

    ``descriptors`` (P, D) of map points, ``labels`` (P,) their landmarks; points of no landmark (0) are left out.
    """

    def __init__(
        self,
        descriptors: NDArray[np.floating],
        labels: NDArray[np.integer],
        num_classes: int,
        least_cosine: float = _LEAST_COSINE,
    ) -> None:
        rows = np.flatnonzero(labels != BACKGROUND)
        rows = rows[np.argsort(labels[rows], kind="stable")]
        self._descriptors = np.asarray(descriptors[rows], np.float32)
        self._landmarks, self._starts = np.unique(labels[rows], return_index=True)
        self._least_cosine = least_cosine
        self._num_classes = num_classes

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return self._num_classes

    @property
    def background_threshold(self) -> float:
        """The value of PRAM: nothing is calibrated here."""
        return _PRAM_THRESHOLD

    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C): softmax of each landmark's largest cosine. Raises ModelError for unlike descriptors."""
        # Minus one is the cosine of opposites: a landmark without points is no candidate.
        best = np.full((len(features), self._num_classes), -1.0, np.float32)
        best[:, BACKGROUND] = self._least_cosine
        if len(features) and len(self._descriptors):
            best[:, self._landmarks] = np.maximum.reduceat(self._similarity(features), self._starts, axis=1)
        odds = np.exp((best - best.max(axis=1, keepdims=True)) / _SPREAD) if len(best) else best
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def _similarity(self, features: LocalFeatures) -> Float32:
        descriptors = unit_descriptors(features)
        if descriptors.shape[1] != self._descriptors.shape[1]:
            raise ModelError(
                f"descriptors of length {descriptors.shape[1]} and {self._descriptors.shape[1]} come from different "
                "extractors"
            )
        return np.asarray(descriptors @ self._descriptors.T)


def load_recogniser(files: Mapping[str, bytes], extractor: str, device: str = "auto") -> Recogniser:
    """The trained recogniser in the contents of files by name, for the features of the named extractor.

    Raises ModelError when torch or the recogniser is missing, damaged, or made for other features.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError("recognising landmarks needs torch: pip install torch")
    from visloc_ros.localization.strategies.landmarks.backends.recogniser import TransformerRecogniser

    return TransformerRecogniser.load(files, extractor, device)
