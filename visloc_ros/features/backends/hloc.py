"""Extractors, matchers and global descriptors of an installed hloc, by the names of its configurations."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.types import Image
from visloc_ros.features.backends.offline import make_offline
from visloc_ros.features.backends.weights import digest, pick_device
from visloc_ros.features.config import FeatureConfig, GlobalConfig, MatcherConfig
from visloc_ros.features.images import as_grey, as_rgb, colmap_from_network, network_from_colmap
from visloc_ros.features.types import Matches, ModelInfo, OneByOne

_EXTRACTION, _MATCHING = "extract_features", "match_features"  # modules with configurations
_LICENCE = "as hloc states for it"
_PROBE_SIDE = 256
_DEFAULTS = {"grayscale": False, "resize_max": None, "resize_force": False, "interpolation": "cv2_area"}


class HlocExtractor(OneByOne):
    """Runs an extractor by its hloc configuration, and keeps the strongest ``max_keypoints``."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self._device = pick_device(config.device, config.torch_threads)
        self._conf = _read_conf(config.name, _EXTRACTION)
        self._network = _make_network(config.name, "extractors", self._conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, _LICENCE, digest(self._network))
        self.descriptor_dim = self._measure_descriptors()

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first."""
        found, scale = self._run(image)
        scores = _scores(found)
        order = np.argsort(-scores, kind="stable")[: self._config.max_keypoints]
        return LocalFeatures(
            colmap_from_network(found["keypoints"][order], scale),
            scores[order],
            np.ascontiguousarray(found["descriptors"].T[order], np.float32),
            (image.shape[1], image.shape[0]),
            _scales_angles(found, scale, order),
        )

    @torch.inference_mode()
    def _run(self, image: Image) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
        """The output of hloc's model, and resized size / original size."""
        planes = _prepare(image, self._conf["preprocessing"], self._device)
        with self._one_at_a_time:
            found = self._network({"image": planes})
        arrays = {name: np.asarray(values[0].cpu().numpy(), np.float32) for name, values in found.items()}
        return arrays, np.array(planes.shape[:1:-1]) / image.shape[1::-1]

    def _measure_descriptors(self) -> int:
        noise = np.random.default_rng(0).integers(0, 256, (_PROBE_SIDE, _PROBE_SIDE, 3), np.uint8)
        found, _ = self._run(noise)
        if "descriptors" not in found:
            raise ConfigError(f"'{self._config.name}' describes whole images: give it as global descriptor")
        return len(found["descriptors"])


def _scores(found: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    for name in ("keypoint_scores", "scores"):
        if name in found:
            return found[name]
    return np.ones(len(found["keypoints"]), np.float32)


def _scales_angles(
    found: Mapping[str, Any], scale: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.float32] | None:
    """Size [px of the original image] and angle [rad]; hloc gives degrees."""
    if "scales" not in found or "oris" not in found:
        return None
    columns = (found["scales"] / scale.mean(), np.radians(found["oris"]))
    return np.column_stack(columns)[order].astype(np.float32)


class HlocMatcher:
    """Matches two images by an hloc configuration."""

    def __init__(self, config: MatcherConfig) -> None:
        self._device = pick_device(config.device)
        conf = _read_conf(config.name, _MATCHING)
        self._network = _make_network(config.name, "matchers", conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, _LICENCE, digest(self._network))
        self.batch_size = 1

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches. Raises ModelError where hloc's matcher cannot take these features."""
        if len(a) == 0 or len(b) == 0:
            return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
        inputs = {**self._inputs(a, "0"), **self._inputs(b, "1")}
        try:
            with self._one_at_a_time:
                found = self._network(inputs)
        except (AssertionError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"'{self.info.name}' cannot match these features ({error}): use another matcher"
            ) from error
        partner = found["matches0"][0].cpu().numpy()
        rows = np.flatnonzero(partner >= 0)
        scores = found["matching_scores0"][0].cpu().numpy() if "matching_scores0" in found else np.ones(len(partner))
        pairs = np.column_stack((rows, partner[rows])).astype(np.int32)
        return Matches(pairs, scores[rows].astype(np.float32).clip(0.0, 1.0))

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference."""
        return [self.match(query, reference) for reference in references]

    def _inputs(self, features: LocalFeatures, side: str) -> dict[str, Tensor]:
        """One image as hloc reads it from its files: a batch of one, descriptors (1, D, N), angles in degrees."""
        features = features.upright
        arrays = {
            "keypoints": network_from_colmap(features.keypoints),
            "scores": features.scores,
            "descriptors": np.ascontiguousarray(features.descriptors.T),
            "image_size": np.array(features.image_size),
        }
        if features.scales_angles is not None:
            scales, angles = features.scales_angles.T
            arrays |= {"scales": np.ascontiguousarray(scales), "oris": np.degrees(angles)}
        tensors = {
            f"{name}{side}": torch.from_numpy(np.asarray(values, np.float32))[None].to(self._device)
            for name, values in arrays.items()
        }
        width, height = features.image_size
        return tensors | {f"image{side}": torch.empty((1, 1, height, width))}


class HlocDescriptor:
    """Describes images by an hloc configuration."""

    def __init__(self, config: GlobalConfig) -> None:
        self._device = pick_device(config.device)
        conf = _read_conf(config.name, _EXTRACTION)
        self._preprocessing = dict(conf["preprocessing"])
        if config.resize_max:
            self._preprocessing["resize_max"] = config.resize_max
        self._network = _make_network(config.name, "extractors", conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, _LICENCE, digest(self._network))

    @torch.inference_mode()
    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (G,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        with self._one_at_a_time:
            found = self._network({"image": _prepare(image, self._preprocessing, self._device)})
        if "global_descriptor" not in found:
            raise ConfigError(f"'{self.info.name}' finds local features: give it as extractor")
        vector = found["global_descriptor"][0].float().cpu().numpy()
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def _prepare(image: Image, preprocessing: Mapping[str, Any], device: torch.device) -> Tensor:
    """Planes (1, C, H, W) in [0, 1] of an image, resized by a configuration's ``preprocessing``."""
    options = {**_DEFAULTS, **preprocessing}
    pixels = (as_grey(image) if options["grayscale"] else as_rgb(image)).astype(np.float32)
    longest = max(pixels.shape[:2])
    limit = options["resize_max"]
    if limit and (options["resize_force"] or longest > limit):
        size = tuple(round(side * limit / longest) for side in pixels.shape[1::-1])
        pixels = importlib.import_module("hloc.extract_features").resize_image(pixels, size, options["interpolation"])
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes / 255.0))[None].to(device)


def _read_conf(name: str, module: str) -> dict[str, Any]:
    """Configuration ``hloc:<conf>`` of ``hloc.<module>``.

    Raises ConfigError that names the known ones, ModelError where hloc itself cannot be imported.
    """
    hloc = make_offline(name, lambda: importlib.import_module(f"hloc.{module}"), "install hloc with its requirements")
    confs: Mapping[str, dict[str, Any]] = hloc.confs
    conf = name.removeprefix(HLOC)
    if conf not in confs:
        raise ConfigError(f"the installed hloc has no configuration '{conf}' in {module}; known: {', '.join(confs)}")
    return deepcopy(confs[conf])


def _make_network(name: str, folder: str, conf: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Network of ``hloc.<folder>`` for a configuration, with its weights. Raises ModelError."""

    def make() -> nn.Module:
        package = importlib.import_module(f"hloc.{folder}")
        base_model = importlib.import_module("hloc.utils.base_model")
        network: nn.Module = base_model.dynamic_load(package, conf["model"]["name"])(dict(conf["model"]))
        return network

    advice = "run it once in hloc where there is a network, and copy the folder of torch.hub"
    return make_offline(name, make, advice).eval().requires_grad_(False).to(device)
