"""The best weight rho for a map: images of the map are held out and searched in the fused map of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import MapImage
from visloc_ros.core.progress import Progress, track
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import solve_pose
from visloc_ros.localization.strategies.fused.codebook import Codebook
from visloc_ros.localization.strategies.fused.config import FusedConfig
from visloc_ros.localization.strategies.fused.fused_map import DescribedMap
from visloc_ros.localization.strategies.fused.fusion import Float32, FusedQuery
from visloc_ros.localization.strategies.fused.point_index import ExactIndex, as_correspondences
from visloc_ros.localization.view_change import typical_depth, view_change

WEIGHTS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5)
_HELD_OUT_EVERY, _MOST_HELD_OUT = 8, 24
_LEAST_HELD_OUT = 2
_RIGHT = 0.1  # radians of view change: from so near the guided search finds the pose
_MIN_MATCHES = 20


@dataclass(frozen=True)
class SweepResult:
    """With a weight: percent of held-out images found, mean share of keypoints that agree with the true pose's."""

    rho: float
    found_percent: float
    inlier_percent: float


def sweep_rho(described: DescribedMap, config: FusedConfig, progress: Progress) -> list[SweepResult]:
    """Results of all weights. Raises ConfigError where the map has too few images to hold any out."""
    count = len(described.map.images)
    every = max(_HELD_OUT_EVERY, count // _MOST_HELD_OUT)
    held_out = list(range(every // 2, count, every))
    if len(held_out) < _LEAST_HELD_OUT:
        raise ConfigError(f"a map of {count} images is too small to hold some out: leave sweep out, and set rho")
    others = described.without(held_out)
    parts = others.image_parts(config)
    sums = others.sums(parts.reduced)
    kept = np.flatnonzero(sums.counts > 0)
    points = described.map.points[kept]
    images = [described.map.images[row] for row in held_out]
    reduced = np.stack([parts.of_query(described.global_descriptors[row]) for row in held_out])
    results = []
    for rho in track(progress, "weights", WEIGHTS, len(WEIGHTS)):
        lam = 1.0 / (1.0 + rho)
        index = ExactIndex(Codebook.store(sums.means(lam, kept), config.storage))
        results.append(_try(rho, lam, index, points, images, reduced))
    return results


def best_of(results: Sequence[SweepResult]) -> float:
    """The weight with which most images are found, and of those the one with most inliers."""
    return max(results, key=lambda one: (one.found_percent, one.inlier_percent)).rho


def _try(
    rho: float, lam: float, index: ExactIndex, points: Array, images: Sequence[MapImage], reduced: Float32
) -> SweepResult:
    shares = np.array(
        [_inlier_share(lam, index, points, image, own) for image, own in zip(images, reduced, strict=True)]
    )
    return SweepResult(rho, 100.0 * float((shares > 0.0).mean()), round(100.0 * float(shares.mean()), 2))


def _inlier_share(lam: float, index: ExactIndex, points: Array, image: MapImage, reduced: Float32) -> float:
    """Share of an image's keypoints that agree with the estimated pose if that is right, else 0."""
    query = FusedQuery(np.asarray(image.features.descriptors, np.float32), reduced, lam)
    found = as_correspondences(query, index.search(query, 1))
    if len(found) < _MIN_MATCHES:
        return 0.0
    seen = points[found.point_rows]
    solution = solve_pose(found.pixels(image.features), seen, image.camera, PoseConfig(), None)
    if solution is None:
        return 0.0
    depth = typical_depth(image.map_from_camera, seen[solution.inliers])
    is_right = view_change(image.map_from_camera, depth, solution.map_from_camera) <= _RIGHT
    return solution.num_inliers / len(query) if is_right else 0.0
