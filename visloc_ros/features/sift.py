"""SIFT (Lowe 2004) through OpenCV with RootSIFT descriptors (Arandjelovic and Zisserman 2012): no weights needed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.images import as_grey, colmap_from_network, reduce_image
from visloc_ros.features.types import ModelInfo, OneByOne

_DIM = 128


class SiftExtractor(OneByOne):
    """Finds SIFT keypoints, strongest contrast first; a keypoint may come once for each of its orientations."""

    descriptor_dim = _DIM

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self.info = ModelInfo("sift", "Apache-2.0")

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB; none on a uniform image."""
        height, width = image.shape[:2]
        reduced = as_grey(reduce_image(image, self._config.resize_max))
        scale = np.array([reduced.shape[1] / width, reduced.shape[0] / height])
        keypoints, descriptors = self._detect(reduced)
        pixels = np.array([point.pt for point in keypoints], np.float32).reshape(-1, 2)
        sizes = np.array([point.size for point in keypoints], np.float32) / np.float32(scale.mean())
        angles = np.radians([point.angle for point in keypoints]).astype(np.float32)
        return LocalFeatures(
            colmap_from_network(pixels, scale),
            np.array([point.response for point in keypoints], np.float32),
            root_sift(descriptors),
            (width, height),
            np.column_stack((sizes, angles)),
        )

    def _detect(self, image: Image) -> tuple[Sequence[cv2.KeyPoint], NDArray[np.floating]]:
        options = self._config.sift
        # A detector per image: it costs nothing and is never shared between threads.
        sift = cv2.SIFT.create(
            contrastThreshold=options.contrast_threshold,
            edgeThreshold=options.edge_threshold,
            enable_precise_upscale=True,
        )
        keypoints = sift.detect(image, None)
        if options.upright:
            keypoints = _upright(keypoints)
        strongest = sorted(keypoints, key=lambda point: -point.response)[: self._config.max_keypoints]
        if not strongest:
            return (), np.empty((0, _DIM), np.float32)
        kept, descriptors = sift.compute(image, strongest)
        return kept, np.asarray(descriptors, np.float32)


def root_sift(descriptors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Square root of SIFT histograms (N, 128) of unit sum: unit vectors whose dot product is the Hellinger kernel."""
    histograms = np.asarray(descriptors, np.float32)
    shares = histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.sqrt(shares), np.float32)


def _upright(keypoints: Sequence[cv2.KeyPoint]) -> list[cv2.KeyPoint]:
    """One keypoint with angle zero for each place and size."""
    distinct = {(point.pt, point.size): point for point in keypoints}
    for point in distinct.values():
        point.angle = 0.0
    return list(distinct.values())
