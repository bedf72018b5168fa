"""Tasks that adjust pieces of a model: bundle adjustment of poses and points, observations that do not fit dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pycolmap

from visloc_cluster.mapping.model import Model, model_of, refined_cameras, sparse_reconstruction
from visloc_cluster.mapping.needs import ADJUSTMENT
from visloc_cluster.mapping.pieces import Piece, taken
from visloc_ros.core.camera import camera_from_params
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.mappers import adjustment_options, quiet_colmap
from visloc_ros.mapping.near_points import are_near

Moving = Literal["all", "own", "points"]

_ROUNDS = 2
_LEAST_STILL = 2  # images that hold the frame and the scale
_FIRST_FACTOR = 4.0  # of the tolerance, before the first adjustment


def adjust_task(
    piece: str, others: Sequence[str], cameras: Sequence[MapCamera], config: ReconstructionConfig, moving: Moving
) -> Task:
    """Adjust a piece, whose cameras have these numbers, beside the ``others`` that share images with it."""
    names = ("max_reprojection_error_px", "min_triangulation_angle_deg", "min_matches")
    options = {name: value for name, value in config.to_mapping().items() if name in names}
    intrinsics = [one.intrinsics for one in cameras]
    kinds = [[one.model_name, one.width, one.height, one.params.tolist()] for one in intrinsics]
    calibrated = [one.calibrated for one in cameras]
    arguments = {"cameras": kinds, "calibrated": calibrated, "reconstruction": options, "moving": moving}
    return Task(ADJUST, arguments, (piece, *others))


def adjust(
    model: Model, cameras: Mapping[int, MapCamera], config: ReconstructionConfig, moving: Collection[int] | None = None
) -> Model:
    """The adjusted model: robust bundle adjustments, each followed by dropping what does not fit.

    Where only some images are ``moving`` all others hold still, and the cameras with them; without moving ones, only
    the points move. Calibrated cameras always stay as they are.
    """
    if not len(model.points):
        return model
    model = without_near_points(model)
    reconstruction = sparse_reconstruction(model, refined_cameras(model, cameras))
    constant = {
        image.camera_id
        for row, image in _by_row(reconstruction)
        if moving is not None or cameras[_camera(model, row)].calibrated
    }
    with quiet_colmap():
        _drop_misfits(reconstruction, _FIRST_FACTOR * config.max_reprojection_error_px, 0.0)
        for _ in range(_ROUNDS):
            if not reconstruction.num_points3D():
                break
            problem = _problem(reconstruction, constant, moving)
            pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, reconstruction).solve()
            _drop_misfits(reconstruction, config.max_reprojection_error_px, config.min_triangulation_angle_deg)
    return _read_back(model, reconstruction)


def without_near_points(model: Model) -> Model:
    """The model without points that lie right before a camera."""
    distances = np.linalg.norm(model.points[model.seen] - model.poses[model.seen_by, 4:], axis=1)
    return taken(model, ~are_near(distances, model.seen_by, model.seen)[model.seen])


def _camera(model: Model, row: int) -> int:
    return int(model.cameras[np.searchsorted(model.images, row)])


def _by_row(reconstruction: pycolmap.Reconstruction) -> list[tuple[int, pycolmap.Image]]:
    images = [reconstruction.images[key] for key in sorted(reconstruction.reg_image_ids())]
    return [(int(image.name), image) for image in images]


def _problem(
    reconstruction: pycolmap.Reconstruction, constant: set[int], moving: Collection[int] | None
) -> pycolmap.BundleAdjustmentConfig:
    problem = pycolmap.BundleAdjustmentConfig()
    images = _by_row(reconstruction)
    still = [image for row, image in images if moving is not None and row not in moving]
    for _, image in images:
        problem.add_image(image.image_id)
    for image in still:
        problem.set_constant_rig_from_world_pose(image.frame_id)
    for camera_id in constant:
        problem.set_constant_cam_intrinsics(camera_id)
    if len(still) < _LEAST_STILL:
        problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return problem


def _drop_misfits(reconstruction: pycolmap.Reconstruction, max_error_px: float, min_angle_deg: float) -> None:
    pycolmap.ObservationManager(reconstruction).filter_all_points3D(max_error_px, min_angle_deg)


def _read_back(model: Model, reconstruction: pycolmap.Reconstruction) -> Model:
    counts = np.bincount(model.seen_by, minlength=len(model.images))
    own = np.split(model.keypoints, np.cumsum(counts)[:-1])
    names = [str(row) for row in model.images.tolist()]
    return model_of(
        reconstruction,
        dict(zip(names, model.images.tolist(), strict=True)),
        dict(zip(names, model.cameras.tolist(), strict=True)),
        dict(zip(names, own, strict=True)),
    )


def _adjust(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    config = replace(ReconstructionConfig.from_mapping(arguments["reconstruction"]), threads=1)
    cameras = {
        number: MapCamera(camera_from_params(*values), arguments["calibrated"][number])
        for number, values in enumerate(arguments["cameras"])
    }
    piece = Piece.from_arrays(inputs[0]).agreeing_with(Piece.from_arrays(other) for other in inputs[1:])
    if arguments["moving"] == "own":
        adjusted = piece.with_adjusted(adjust(piece.model, cameras, config, set(piece.own.tolist())))
    else:
        moving = () if arguments["moving"] == "points" else None
        adjusted = Piece(piece.own, adjust(piece.model, cameras, config, moving))
    return adjusted.without_weak_images(config.min_matches).arrays()


ADJUST = Stage("adjust", _adjust, ADJUSTMENT)
