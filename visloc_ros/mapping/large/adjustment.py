"""Tasks that adjust a joined model: bundle adjustment of poses and points, observations that do not fit dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_params
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.large.model import Model, model_of, refined_cameras, sparse_reconstruction
from visloc_ros.mapping.large.pieces import cut
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.mappers import adjustment_options, quiet_colmap

_ROUNDS = 2
_LEAST_STILL = 2  # images that hold the frame and the scale
_FIRST_FACTOR = 4.0  # of the tolerance, before the first adjustment


def adjust_task(
    joined: str, cameras: Sequence[MapCamera], config: ReconstructionConfig, moving: Sequence[int] | None
) -> Task:
    """Adjust a joined model, whose cameras have these numbers: all images, or what the ``moving`` ones see.

    All others hold still, and the cameras with them; without moving ones, only the points move.
    """
    names = ("max_reprojection_error_px", "min_triangulation_angle_deg", "min_matches")
    options = {name: value for name, value in config.to_mapping().items() if name in names}
    intrinsics = [one.intrinsics for one in cameras]
    kinds = [[one.model_name, one.width, one.height, one.params.tolist()] for one in intrinsics]
    calibrated = [one.calibrated for one in cameras]
    own = None if moving is None else list(moving)
    arguments = {"cameras": kinds, "calibrated": calibrated, "reconstruction": options, "moving": own}
    return Task(ADJUST, arguments, (joined,))


def adjust(
    model: Model, cameras: Mapping[int, MapCamera], config: ReconstructionConfig, moving: Collection[int] | None = None
) -> Model:
    """The adjusted model: robust bundle adjustments, each followed by dropping what does not fit.

    Calibrated cameras stay as they are, and all where only some images are ``moving``; images that see less than they
    must are dropped.
    """
    reconstruction = sparse_reconstruction(model, refined_cameras(model, cameras))
    constant = {
        image.camera_id
        for row, image in _by_row(reconstruction)
        if moving is not None or cameras[_camera(model, row)].calibrated
    }
    with quiet_colmap():
        _drop_misfits(reconstruction, _FIRST_FACTOR * config.max_reprojection_error_px, 0.0)
        for _ in range(_ROUNDS):
            problem = _problem(reconstruction, constant, moving)
            pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, reconstruction).solve()
            _drop_misfits(reconstruction, config.max_reprojection_error_px, config.min_triangulation_angle_deg)
    for _, image in _by_row(reconstruction):
        if image.num_points3D < config.min_matches:
            reconstruction.deregister_frame(image.frame_id)
    return _read_back(model, reconstruction)


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
    model, moving = Model.from_arrays(inputs[0]), arguments["moving"]
    if moving:
        model = cut(model, np.array(moving))
    return adjust(model, cameras, config, None if moving is None else set(moving)).arrays()


ADJUST = Stage("adjust", 1, _adjust)
