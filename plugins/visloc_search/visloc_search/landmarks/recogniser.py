"""Recognisers of landmarks: a Protocol over plain arrays, the pre-filter, and the files of a trained one.

They are ``recogniser.pt``, weights in half precision, and ``recogniser.json`` about them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.files import LARGEST_SETTINGS_BYTES
from visloc_search.landmarks.tokens import BACKGROUND, Float32, Labels


class Recogniser(Protocol):
    """Recognises the landmark that each keypoint shows."""

    @property
    def num_classes(self) -> int:
        """Number of classes C: the landmarks and, as class 0, background."""
        ...

    @property
    def background_threshold(self) -> float:
        """Probability of background above which a token need not be matched."""
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
    from visloc_search.landmarks.backends.recogniser import TransformerRecogniser

    return TransformerRecogniser.load(files, extractor, device)


# The tokens that are surely background need no matching (the pre-filter of PRAM, Xue et al. 2024). The loss weighs
# background down, so that its probability is no frequency: the threshold above which a token is dropped is determined
# from images with truth.

_KEPT_INLIERS = 0.97
_LEAST_KEPT = 0.4
KEEP_ALL = 1.0


def background_threshold(probabilities: Sequence[Float32], labels: Sequence[Labels]) -> float:
    """The probability of background up to which 97 % of the landmark tokens are kept.

    Of images with probabilities (N, C) and true labels (N,); KEEP_ALL where none of them shows a landmark.
    """
    background = [
        one[truth != BACKGROUND, BACKGROUND] for one, truth in zip(probabilities, labels, strict=True) if len(truth)
    ]
    inliers = np.concatenate(background) if background else np.empty(0)
    return float(np.quantile(inliers, _KEPT_INLIERS, method="higher")) if len(inliers) else KEEP_ALL


def keep_likely_landmarks(probabilities: Float32, threshold: float) -> NDArray[np.intp]:
    """Rows of the tokens (N, C) whose probability of background is at most the threshold.

    All rows where that would leave less than two fifths of them: the recognition of such an image is not trusted.
    """
    kept = np.flatnonzero(probabilities[:, BACKGROUND] <= threshold)
    return kept if len(kept) >= _LEAST_KEPT * len(probabilities) else np.arange(len(probabilities))


SCHEMA_VERSION = 1
WEIGHTS_NAME, INFO_NAME = RECOGNISER_FILES = "recogniser.pt", "recogniser.json"
REMEDY = ": run 'visloc prepare MAP --for landmarks' again"
_LARGEST_WIDTHS = {
    "in_dim": 4096,
    "num_classes": 100_000,
    "dim": 4096,
    "heads": 64,
    "head_dim": 512,
    "layers": 128,
    "prototypes": 1024,
}
_MAY_BE_ZERO = ("prototypes",)


@dataclass(frozen=True)
class RecogniserInfo:
    """The description of a recogniser.

    ``extractor`` names what made its features, ``shape`` the widths of its network, ``background_threshold`` the
    probability of background above which a token is dropped, ``training`` figures for a report, ``sha256`` the
    checksum of the weights.
    """

    extractor: str
    shape: Mapping[str, int]
    background_threshold: float
    sha256: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def write_recogniser(folder: Path, weights: bytes, info: RecogniserInfo) -> int:
    """Write both files, the description last, and give their bytes. Raises OutputError."""
    values = {**asdict(info), "sha256": hashlib.sha256(weights).hexdigest()}
    text = json.dumps(values, indent=1).encode("utf-8")
    for name, content in ((WEIGHTS_NAME, weights), (INFO_NAME, text)):
        with atomic_write(folder / name) as path:
            path.write_bytes(content)
    return len(weights) + len(text)


def read_recogniser(files: Mapping[str, bytes], extractor: str) -> tuple[bytes, RecogniserInfo]:
    """Weights, their checksum compared, and description, out of the contents of files by name.

    Raises ModelError that says what is wrong and what to do.
    """
    for name in (INFO_NAME, WEIGHTS_NAME):
        if name not in files:
            raise ModelError(f"{name} of the landmarks is missing{REMEDY}")
    info = _read_info(files[INFO_NAME])
    if info.extractor != extractor:
        raise ModelError(f"{INFO_NAME} is for features of '{info.extractor}', not of '{extractor}'{REMEDY}")
    if hashlib.sha256(files[WEIGHTS_NAME]).hexdigest() != info.sha256:
        raise ModelError(f"{WEIGHTS_NAME} is not the file that {INFO_NAME} describes{REMEDY}")
    return files[WEIGHTS_NAME], info


def _read_info(content: bytes) -> RecogniserInfo:
    try:
        values = json.loads(content[:LARGEST_SETTINGS_BYTES])
        version = values["schema_version"]
        if version != SCHEMA_VERSION:
            raise ModelError(f"{INFO_NAME} is of version {version}, this program reads {SCHEMA_VERSION}{REMEDY}")
        info = RecogniserInfo(**values)
        _check(info)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{INFO_NAME} does not describe a recogniser ({error!r}){REMEDY}") from error
    return info


def _check(info: RecogniserInfo) -> None:
    """Raise ValueError or TypeError for an impossible description."""
    if not isinstance(info.extractor, str) or not isinstance(info.sha256, str):
        raise TypeError("extractor and sha256 must be words")
    if not isinstance(info.training, dict) or not isinstance(info.shape, dict):
        raise TypeError("shape and training must be groups")
    if not 0.0 <= float(info.background_threshold) <= 1.0:
        raise ValueError("background_threshold is no probability")
    if info.shape.keys() != _LARGEST_WIDTHS.keys():
        raise ValueError(f"shape must hold {', '.join(_LARGEST_WIDTHS)}")
    for name, width in info.shape.items():
        least = 0 if name in _MAY_BE_ZERO else 1
        if type(width) is not int or not least <= width <= _LARGEST_WIDTHS[name]:
            raise ValueError(f"{name} cannot be {width!r}")
    if info.shape["head_dim"] % 2 or info.shape["num_classes"] < 2:
        raise ValueError("head_dim must be even, and there must be a class beside background")
