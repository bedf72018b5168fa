"""What each image and each point of a map contributes, as arrays: the figures behind the map card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.colmap_model import ColmapModel, ModelImage
from visloc_ros.core.geometry import Array


@dataclass(frozen=True)
class ImageCoverage:
    """One image: points it sees, share of its keypoints that they are, their mean error in pixels and track length."""

    name: str
    observations: int
    share: float
    reprojection_error_px: float
    track_length: float


def image_coverage(model: ColmapModel) -> list[ImageCoverage]:
    """Measure every image of a model, in its order."""
    return [_measure(model, image) for image in model.images]


def weakest(coverage: Sequence[ImageCoverage], count: int) -> list[ImageCoverage]:
    """The images to look at first: half of them see the fewest points, the others reproject worst; each once."""
    sparse = sorted(coverage, key=lambda image: image.observations)[: count // 2]
    others = [image for image in coverage if image not in sparse]
    return sparse + sorted(others, key=lambda image: -image.reprojection_error_px)[: count - len(sparse)]


def reprojection_errors(model: ColmapModel, image: ModelImage) -> Array:
    """Distance (K,) in pixels between the keypoints of an image that have a point and the projections of these."""
    rows: NDArray[np.int32] = model.rows_of(image.point_ids)
    seen = rows >= 0
    in_camera = image.map_from_camera.inverse @ model.points[rows[seen]]
    projected = project(model.cameras[image.camera_id], in_camera)
    return np.asarray(np.linalg.norm(projected - image.keypoints[seen], axis=1))


def _measure(model: ColmapModel, image: ModelImage) -> ImageCoverage:
    errors = reprojection_errors(model, image)
    if len(errors) == 0:
        return ImageCoverage(image.name, 0, 0.0, 0.0, 0.0)
    share = len(errors) / len(image.point_ids)
    rows = model.rows_of(image.point_ids)
    track_length = float(model.track_lengths[rows[rows >= 0]].mean())
    return ImageCoverage(image.name, len(errors), share, float(errors.mean()), track_length)
