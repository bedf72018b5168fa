"""Tasks that adjust a joined model: bundle adjustment of poses and points, observations that do not fit dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_params
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.large.model import Model, model_of, refined_cameras, sparse_reconstruction
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.mappers import adjustment_options, quiet_colmap

_ROUNDS = 2
_FIRST_FACTOR = 4.0  # of the tolerance, before the first adjustment


def adjust_task(joined: str, cameras: Sequence[MapCamera], config: ReconstructionConfig, *, fixed: bool) -> Task:
    """Adjust a joined model, whose cameras have these numbers; with ``fixed`` poses only its points."""
    names = ("max_reprojection_error_px", "min_triangulation_angle_deg", "min_matches")
    options = {name: value for name, value in config.to_mapping().items() if name in names}
    intrinsics = [one.intrinsics for one in cameras]
    kinds = [[one.model_name, one.width, one.height, one.params.tolist()] for one in intrinsics]
    calibrated = [one.calibrated for one in cameras]
    arguments = {"cameras": kinds, "calibrated": calibrated, "reconstruction": options, "fixed": fixed}
    return Task(ADJUST, arguments, (joined,))


def adjust(model: Model, cameras: Mapping[int, MapCamera], config: ReconstructionConfig, *, fixed: bool) -> Model:
    """The adjusted model: robust bundle adjustments, each followed by dropping what does not fit.

    Calibrated cameras stay as they are; images that see less than they must are dropped.
    """
    reconstruction = sparse_reconstruction(model, refined_cameras(model, cameras))
    constant = {image.camera_id for row, image in _by_row(reconstruction) if cameras[_camera(model, row)].calibrated}
    with quiet_colmap():
        _drop_misfits(reconstruction, _FIRST_FACTOR * config.max_reprojection_error_px, 0.0)
        for _ in range(_ROUNDS):
            problem = _problem(reconstruction, constant, fixed)
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
    reconstruction: pycolmap.Reconstruction, constant: set[int], fixed: bool
) -> pycolmap.BundleAdjustmentConfig:
    problem = pycolmap.BundleAdjustmentConfig()
    for _, image in _by_row(reconstruction):
        problem.add_image(image.image_id)
        if fixed:
            problem.set_constant_rig_from_world_pose(image.frame_id)
    for camera_id in constant:
        problem.set_constant_cam_intrinsics(camera_id)
    if not fixed:
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
    return adjust(Model.from_arrays(inputs[0]), cameras, config, fixed=arguments["fixed"]).arrays()


ADJUST = Stage("adjust", 1, _adjust)
