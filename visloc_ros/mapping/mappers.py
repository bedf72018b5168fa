"""COLMAP's two mappers for structure from motion, and the choice between them.

The incremental mapper adds one image after another; the global one (GLOMAP) solves for all at once (Pan et al., ECCV
2024). Their errors are alike, but the time of the first grows faster with the number of images: 250 densely filmed ones
of a kitchen take 3.4 times that of the second, 90 of a room as long (results/map_size.md). Hence the limit: in
simulated loops both take equally long with 200 images, and with 400 the first takes half as long again as the second.

Where images are weakly connected the second bends its model without a sign: of 22 photos of a street it registers all,
tens of metres off. The first does so, too: it joins the strip that a drone flies back by some twenty wrong points. So
the models of both are cut where verified matches do not hold them together (``rigid_parts``). Of what remains, the
first may differ: its scale drifts along a drive, where that of the second does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pycolmap

from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.near_points import delete_near_points
from visloc_ros.mapping.rigid_parts import only_images, shape_difference, weigh_pairs

_log = logging.getLogger(__name__)

_MIN_HELD_SHARE = 0.9
_GLOBAL_PAIRS = 2  # that hold two parts of a global model together: one has no witness
_MOST_SHAPE_DIFFERENCE = 0.05  # of two mappers' models that are both right 0.017 at most, of others 0.27 and more
_MOST_CONTRADICTED = 0.01  # of the matches: by right models of blocks 0.4 to 0.7 %, by bent ones 1.2 % and more
_ROUNDS = 2  # of an adjustment, each followed by a filter
_LEAST_BESIDE_LARGEST = 10  # images of a further model, for both mappers: COLMAP's own limit of the incremental one
_MAX_ITERATIONS = 30
_FUNCTION_TOLERANCE = 1e-5  # of the cost; without one, each refinement takes four times as long for no better poses


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

    @property
    def calibrated_cameras(self) -> list[pycolmap.Camera]:
        """Those of the cameras that are calibrated."""
        return [self.cameras[camera_id] for camera_id in sorted(self.calibrated)]


@dataclass(frozen=True, eq=False)
class Mapped:
    """Models, and what a user must know of how they came about, empty where nothing was unusual."""

    models: list[pycolmap.Reconstruction]
    remark: str = ""

    @property
    def largest(self) -> int:
        """Images of the largest model, 0 without any."""
        return max((model.num_reg_images() for model in self.models), default=0)

    @property
    def count(self) -> int:
        """Images of all models together."""
        return sum(model.num_reg_images() for model in self.models)


def run_mapper(task: MapperTask, config: ReconstructionConfig) -> Mapped:
    """Find models with the mapper that the options name, one for each part of the images; none where no two match.

    Of few images, the incremental model is replaced by a global one where there is none, or matches contradict it, and
    less so that one.
    What verified matches do not hold together in a model becomes several. Chosen by the number of images, the global
    mapper must hold nearly all of them together; else the incremental one runs, and counts where its model is as large
    and has the shape of what was held together.
    """
    if config.mapper == "incremental":
        return _mapped_incrementally(task, config)
    if config.mapper == "auto" and task.count < config.global_from:
        return _checked(_mapped_incrementally(task, config), task, config)
    models, held = _rigid(_without_small(_map_globally(task, config)), task, config, _GLOBAL_PAIRS)
    if held >= _MIN_HELD_SHARE * task.count:
        return Mapped(models)
    weak = f"in the global model, verified matches hold {held} of {task.count} images together"
    mapped = Mapped(models, f"{weak}: it was cut where they do not")
    if config.mapper == "auto":
        remark = f"{weak}: the images were mapped incrementally instead"
        incremental = replace(_mapped_incrementally(task, config), remark=remark)
        is_as_large = incremental.largest >= mapped.largest and incremental.count >= mapped.count
        if is_as_large and _has_shape(incremental, mapped):
            mapped = incremental
    _log.warning("%s", mapped.remark)
    return mapped


def mapper_options(
    config: ReconstructionConfig, calibrated: Iterable[pycolmap.Camera]
) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options for incremental mapping and triangulation of images of which these cameras are calibrated."""
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
    largest = _largest_extra_param(calibrated)
    options.max_extra_param = options.mapper.max_extra_param = options.triangulation.max_extra_param = largest
    return options


def _largest_extra_param(calibrated: Iterable[pycolmap.Camera]) -> float:
    """The limit of distortion parameters, beyond which COLMAP ignores a camera as degenerate.

    Its own limit is for estimates. Calibrations of rational models have coefficients of 2 and more, and the second
    parameter of EUCM is about 1.
    """
    extra = [abs(camera.params[index]) for camera in calibrated for index in camera.extra_params_idxs()]
    return float(max([1.0, *extra]))


def adjustment_options(config: ReconstructionConfig) -> pycolmap.BundleAdjustmentOptions:
    """Options of a bundle adjustment that is robust against a few wrong observations."""
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.solver_options.num_threads = config.threads or -1
    options.ceres.solver_options.max_num_iterations = _MAX_ITERATIONS
    options.ceres.solver_options.function_tolerance = _FUNCTION_TOLERANCE
    return options


@contextmanager
def quiet_colmap() -> Iterator[None]:
    """Keep COLMAP from writing hundreds of lines a minute to stderr; results and errors are returned or raised."""
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL.value)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = level


def continue_model(
    model: pycolmap.Reconstruction, task: MapperTask, config: ReconstructionConfig
) -> list[pycolmap.Reconstruction]:
    """Map on incrementally from a model whose images have their numbers in the database: tracks, poses, more images.

    As of any mapper, the parts that verified matches hold together.
    """
    folder = task.database.parent / "model"
    folder.mkdir(exist_ok=True)
    model.write(folder)
    return _rigid(_map_incrementally(task, config, folder), task, config)[0]


def _map_incrementally(
    task: MapperTask, config: ReconstructionConfig, begun: Path | None = None
) -> list[pycolmap.Reconstruction]:
    options = mapper_options(config, task.calibrated_cameras)
    options.multiple_models = True
    options.constant_cameras = task.calibrated
    folder = task.database.parent
    models = pycolmap.incremental_mapping(
        task.database, folder, folder, options, begun or "", next_image_callback=task.on_image
    )
    return [_without_near_points(model, task, config) for model in models.values()]


def _without_near_points(
    model: pycolmap.Reconstruction, task: MapperTask, config: ReconstructionConfig
) -> pycolmap.Reconstruction:
    """The model, adjusted again where points right before a camera held it, and without what does not fit then."""
    for _ in range(_ROUNDS if delete_near_points(model) else 0):
        problem = whole_problem(model, task.calibrated & set(model.cameras))
        pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, model).solve()
        observations = pycolmap.ObservationManager(model)
        observations.filter_all_points3D(config.max_reprojection_error_px, config.min_triangulation_angle_deg)
    return model


def _map_globally(task: MapperTask, config: ReconstructionConfig) -> list[pycolmap.Reconstruction]:
    options = pycolmap.GlobalPipelineOptions()
    options.min_num_matches = config.min_matches
    options.num_threads = config.threads or -1
    options.random_seed = config.seed
    refines = len(task.calibrated) < len(task.cameras)
    options.mapper.bundle_adjustment.refine_focal_length = refines
    options.mapper.bundle_adjustment.refine_extra_params = refines
    options.mapper.retriangulation.max_extra_param = _largest_extra_param(task.calibrated_cameras)
    folder = task.database.parent
    models = list(pycolmap.global_mapping(task.database, folder, folder, options).values())
    for model in models:
        if refines and task.calibrated:
            _restore_calibrated(model, task)
        for _ in range(model.num_reg_images()):
            task.on_image()
    return [_without_near_points(model, task, config) for model in models]


def _mapped_incrementally(task: MapperTask, config: ReconstructionConfig) -> Mapped:
    """What verified matches hold together of the incremental models."""
    models = _map_incrementally(task, config)
    rigid, held = _rigid(models, task, config)
    count = sum(model.num_reg_images() for model in models)
    weak = f"in the incremental model, verified matches hold {held} of {count} images together"
    return Mapped(rigid, f"{weak}: it was cut where they do not" if held < _MIN_HELD_SHARE * count else "")


def _rigid(
    models: Iterable[pycolmap.Reconstruction], task: MapperTask, config: ReconstructionConfig, least_pairs: int = 1
) -> tuple[list[pycolmap.Reconstruction], int]:
    """What verified matches hold together of models, and how many images the largest parts of all have."""
    parts = [_rigid_parts(model, task, config, least_pairs) for model in models]
    held = sum(of_model[0].num_reg_images() for of_model in parts)
    return _without_small([part for of_model in parts for part in of_model]), held


def _rigid_parts(
    model: pycolmap.Reconstruction, task: MapperTask, config: ReconstructionConfig, least_pairs: int
) -> list[pycolmap.Reconstruction]:
    """A model, or what verified matches hold together of it, the largest part first."""
    parts = weigh_pairs(model, task.database, config.max_reprojection_error_px).rigid_parts(least_pairs)
    return [model] if len(parts) == 1 else [only_images(model, part) for part in parts]


def _checked(mapped: Mapped, task: MapperTask, config: ReconstructionConfig) -> Mapped:
    """Incremental models; or global ones as large, where many matches contradict the largest, and fewer of these do.

    The incremental mapper bends a model now and then: that of a kitchen, filmed with a blurred gap, by 11 cm. It finds
    none along a straight drive, where no two images see enough from different sides to begin with.
    """
    if not mapped.models:
        return run_mapper(task, replace(config, mapper="global"))
    contradicted = _contradicted_share(mapped, task, config)
    if contradicted <= _MOST_CONTRADICTED:
        return mapped
    other = run_mapper(task, replace(config, mapper="global"))
    sizes = (other.largest, mapped.largest), (other.count, mapped.count)
    is_as_large = all(one >= _MIN_HELD_SHARE * before for one, before in sizes)
    return other if is_as_large and _contradicted_share(other, task, config) < contradicted else mapped


def _contradicted_share(mapped: Mapped, task: MapperTask, config: ReconstructionConfig) -> float:
    """How many of the verified matches between its images the largest model contradicts."""
    largest = max(mapped.models, key=lambda model: model.num_reg_images())
    evidence = weigh_pairs(largest, task.database, config.max_reprojection_error_px)
    contradicted = int(evidence.contradicted.sum())
    return contradicted / max(1, contradicted + int(evidence.explained.sum()))


def _has_shape(one: Mapped, other: Mapped) -> bool:
    """Whether models have the shape of the largest of other ones, as far as they have images in common."""
    largest = max(other.models, key=lambda model: model.num_reg_images(), default=pycolmap.Reconstruction())
    return all(shape_difference(largest, model) <= _MOST_SHAPE_DIFFERENCE for model in one.models)


def _without_small(models: list[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    least = min(Mapped(models).largest, _LEAST_BESIDE_LARGEST)
    return [model for model in models if model.num_reg_images() >= least]


def _restore_calibrated(model: pycolmap.Reconstruction, task: MapperTask) -> None:
    # Global mapping refines all cameras or none.
    for camera_id in task.calibrated & set(model.cameras):
        model.cameras[camera_id].params = task.cameras[camera_id].params.tolist()
    problem = whole_problem(model, task.calibrated & set(model.cameras))
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, problem, model).solve()
