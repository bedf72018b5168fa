"""Recognisers of landmarks: a Protocol over plain arrays, and how a trained one is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Protocol

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.localization.strategies.landmarks.tokens import Float32


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


def load_recogniser(files: Mapping[str, bytes], extractor: str, device: str = "auto") -> Recogniser:
    """The trained recogniser in the contents of files by name, for the features of the named extractor.

    Raises ModelError when torch or the recogniser is missing, damaged, or made for other features.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError("recognising landmarks needs torch: pip install torch")
    from visloc_ros.localization.strategies.landmarks.backends.recogniser import TransformerRecogniser

    return TransformerRecogniser.load(files, extractor, device)
