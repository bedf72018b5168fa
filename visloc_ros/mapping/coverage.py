"""What each image and each point of a map contributes, as arrays: the figures behind the map card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.colmap_model import ColmapModel, ModelImage
from visloc_ros.core.geometry import Array


@dataclass(frozen=True)
class ImageCoverage:
    """One image: points it sees, share of its keypoints that they are, their mean reprojection error in pixels."""

    name: str
    observations: int
    share: float
    reprojection_error_px: float


def image_coverage(model: ColmapModel) -> list[ImageCoverage]:
    """Measure every image of a model, in its order."""
    return [_measure(model, image) for image in model.images]


def reprojection_errors(model: ColmapModel, image: ModelImage) -> Array:
    """Distance (K,) in pixels between the keypoints of an image that have a point and the projections of these."""
    rows: NDArray[np.int32] = model.rows_of(image.point_ids)
    seen = rows >= 0
    in_camera = image.map_from_camera.inverse @ model.points[rows[seen]]
    projected = project(model.cameras[image.camera_id], in_camera)
    return np.asarray(np.linalg.norm(projected - image.keypoints[seen], axis=1))


def _measure(model: ColmapModel, image: ModelImage) -> ImageCoverage:
    errors = reprojection_errors(model, image)
    share = len(errors) / max(len(image.point_ids), 1)
    return ImageCoverage(image.name, len(errors), share, float(errors.mean()) if len(errors) else 0.0)
