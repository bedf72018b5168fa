"""COLMAP's two mappers for structure from motion, and the choice between them.

The incremental mapper adds one image after another; the global one (GLOMAP) solves for all at once (Pan et al., ECCV
2024). Their errors are alike, but the time of the first grows faster with the number of images. Where images are weakly
connected the second can bend a map by decimetres without a sign (simulated: 2 of 3 rounds of a room, matched with
neighbours only). Hence the limit: in simulated loops both take equally long with 200 images, and with 400 the first
takes half as long again as the second (results/map_size.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pycolmap

from visloc_ros.mapping.config import ReconstructionConfig

_log = logging.getLogger(__name__)

_MIN_GLOBAL_SHARE = 0.9

Models = Mapping[int, pycolmap.Reconstruction]


@dataclass(frozen=True, eq=False)
class MapperTask:
    """A database with verified matches between ``count`` images, its cameras by id, and which of them are calibrated.

    ``on_image`` is called for every image registered.
    """

    database: Path
    count: int
    cameras: Mapping[int, pycolmap.Camera]
    calibrated: set[int]
    on_image: Callable[[], None]


def run_mapper(task: MapperTask, config: ReconstructionConfig) -> Models:
    """Find models with the mapper that the options name; none where no two images can be joined.

    Chosen by the number of images, the global mapper must register nearly all of them; else the incremental one runs.
    """
    if config.mapper == "incremental" or (config.mapper == "auto" and task.count < config.global_from):
        return _map_incrementally(task, config)
    models = _map_globally(task, config)
    found = max((model.num_reg_images() for model in models.values()), default=0)
    if config.mapper == "global" or found >= _MIN_GLOBAL_SHARE * task.count:
        return models
    _log.warning("global mapping registered %d of %d images: they are mapped incrementally instead", found, task.count)
    return _map_incrementally(task, config)


def mapper_options(config: ReconstructionConfig) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options for incremental mapping and triangulation."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_num_matches = config.min_matches
    options.num_threads = config.threads or -1
    options.random_seed = config.seed
    options.extract_colors = False
    options.mapper.filter_max_reproj_error = config.max_reprojection_error_px
    options.mapper.filter_min_tri_angle = config.min_triangulation_angle_deg
    options.triangulation.min_angle = config.min_triangulation_angle_deg
    options.triangulation.complete_max_reproj_error = config.max_reprojection_error_px
    options.triangulation.merge_max_reproj_error = config.max_reprojection_error_px
    return options


def _map_incrementally(task: MapperTask, config: ReconstructionConfig) -> Models:
    options = mapper_options(config)
    options.multiple_models = True
    options.constant_cameras = task.calibrated
    folder = task.database.parent
    models: Models = pycolmap.incremental_mapping(
        task.database, folder, folder, options=options, next_image_callback=task.on_image
    )
    return models


def _map_globally(task: MapperTask, config: ReconstructionConfig) -> Models:
    options = pycolmap.GlobalPipelineOptions()
    options.min_num_matches = config.min_matches
    options.num_threads = config.threads or -1
    options.random_seed = config.seed
    refines = len(task.calibrated) < len(task.cameras)
    options.mapper.bundle_adjustment.refine_focal_length = refines
    options.mapper.bundle_adjustment.refine_extra_params = refines
    folder = task.database.parent
    models: Models = pycolmap.global_mapping(task.database, folder, folder, options)
    for model in models.values():
        if refines and task.calibrated:
            _restore_calibrated(model, task)
        for _ in range(model.num_reg_images()):
            task.on_image()
    return models


def _restore_calibrated(model: pycolmap.Reconstruction, task: MapperTask) -> None:
    # Global mapping refines all cameras or none.
    for camera_id in task.calibrated & set(model.cameras):
        model.cameras[camera_id].params = task.cameras[camera_id].params.tolist()
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        problem.add_image(image_id)
    for camera_id in task.calibrated & set(model.cameras):
        problem.set_constant_cam_intrinsics(camera_id)
    problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, problem, model).solve()
