"""The bundle adjustment of a whole reconstruction, as COLMAP poses it."""

from __future__ import annotations

from collections.abc import Iterable

import pycolmap


def whole_problem(reconstruction: pycolmap.Reconstruction, constant: Iterable[int]) -> pycolmap.BundleAdjustmentConfig:
    """The problem of all poses and points, the frame held by two cameras; cameras with ``constant`` ids are exact."""
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.reg_image_ids():
        problem.add_image(image_id)
    for camera_id in constant:
        problem.set_constant_cam_intrinsics(camera_id)
    problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return problem
