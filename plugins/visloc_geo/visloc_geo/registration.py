"""The poses of a database's views relative to each other, by structure from motion, and on the earth by their tags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pycolmap

from visloc_geo.alike_views import AlikeViews, read_alike_views
from visloc_geo.common_error import CommonError, common_error
from visloc_geo.database import GeoDatabase
from visloc_geo.features import feature_config, load_keypoints
from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.solving.types import Tag
from visloc_geo.tag_conflicts import named_views, tag_conflicts
from visloc_geo.travel_directions import contradicted_positions
from visloc_geo.view import MISFIT, ORIGINAL_TAG, REGISTRATION, TAG_VALUES, Orientation, View
from visloc_geo.view_precision import ViewPrecision, view_precisions
from visloc_ros.core.errors import GeoError, MapError
from visloc_ros.core.files import is_file
from visloc_ros.core.geo_reference import GEO_SIGMA_M, HEIGHT_FACTOR
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.features.registry import make_matcher
from visloc_ros.features.types import Matcher
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.geo import fit_to_positions, local_positions
from visloc_ros.mapping.gravity import Up
from visloc_ros.mapping.map_sources import CameraGroups
from visloc_ros.mapping.mappers import mapper_options, quiet_colmap
from visloc_ros.mapping.matching import PairMatches, match_pairs
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.reconstruction import verify_pairs
from visloc_ros.mapping.sfm_database import SfmImage, add_views, registered_poses, write_database
from visloc_ros.sources.measurements import COMPASS_SIGMA_DEG, GeoPosition

_PARTNERS = 20  # views nearest by their tags, with which each is matched
_MOST_SIGMAS = 4.0  # of a view, or its heading, from its tag: beyond it one of the two is wrong
_MEAN_TILT_SIGMA_DEG = 2.0  # of all photos of a walk: one who holds the phone a little high does so each time
_MUCH_FEWER = 1.0 / 3.0
_MOST_SCALE_SIGMA = 1.0 / 3.0  # of a scale's logarithm: with more, a scale of 0 is within three sigma


@dataclass(frozen=True, eq=False)
class ReconstructedView:
    """The pose of a view relative to the others of a reconstruction, and how exactly it is known among them."""

    sfm_from_camera: SE3
    precision: ViewPrecision


@dataclass(frozen=True, eq=False)
class Registration:
    """Poses ``enu_from_camera`` of the views by name, in the frame ``frame``.

    ``precisions``, in metres, are theirs among their neighbours. ``misfits`` are the other views that were
    reconstructed, with the distance in metres from their tags: of each one of the two is wrong. ``common`` is how far
    all poses may be off together.
    """

    frame: EnuFrame
    poses: Mapping[str, SE3]
    precisions: Mapping[str, ViewPrecision]
    common: CommonError
    misfits: Mapping[str, float] = field(default_factory=dict)


def register_views(
    database: GeoDatabase, matcher: Matcher | None = None, progress: Progress | None = None
) -> Registration:
    """Reconstruct the views with local features, and place them by their positions.

    Raises GeoError where they cannot be joined, or their positions contradict the reconstruction.
    """
    tags = tags_to_place(database)  # first: it takes no time
    return place_views(reconstruct_views(database, matcher, progress), tags)


def tags_to_place(database: GeoDatabase) -> dict[str, GeoPosition]:
    """The positions in the views' own tags. Raises GeoError where their images show that these are not theirs."""
    tagged = [
        view.retagged(view.tagged_position, None if view.is_registered else view.orientation)
        for view in database
        if view.tagged_position is not None
    ]
    if not tagged:
        return {}
    alike, origin = read_alike_views(database), database.origin
    # Single wrong ones turn no street, and end as misfits.
    singles = tag_conflicts(tagged, origin, alike).wrong
    tags = {view.name: Tag.of_view(view, origin) for view in tagged if view.name not in singles}
    wrong = contradicted_positions(tags, alike)
    if wrong:
        raise GeoError(
            f"the positions of {named_views(wrong)} are not theirs: the directions between them are not those that the "
            "images show, or opposite to all headings; correct positions or headings ('visloc geo add --list')"
        )
    return {view.name: view.position for view in tagged if view.position is not None}


def reconstruct_views(
    database: GeoDatabase, matcher: Matcher | None = None, progress: Progress | None = None
) -> dict[str, ReconstructedView]:
    """The views with local features that can be joined. Raises GeoError."""
    views = [view for view in database if view.camera is not None and is_file(database.keypoints_path(view.name))]
    features = [load_keypoints(database, view.name) for view in views]
    matcher = matcher or make_matcher(extractor=feature_config(database).name)
    pairs = _pairs(views, database.origin, read_alike_views(database))
    matches = match_pairs(lambda: matcher, features, pairs, progress or SilentProgress())
    cameras = CameraGroups(calibrated=True)
    images = [
        SfmImage(view.name, one.keypoints, cameras.find(view.camera))
        for view, one in zip(views, features, strict=True)
        if view.camera is not None
    ]
    models = _map(images, matches)
    if not models:
        raise GeoError(f"no two views of {database.folder} can be joined: they share too little")
    largest = max(models, key=lambda model: model.num_reg_images())
    poses, precisions = registered_poses(largest), view_precisions(largest)
    return {name: ReconstructedView(pose, precisions[name]) for name, pose in poses.items() if name in precisions}


def _map(images: Sequence[SfmImage], matches: PairMatches) -> list[pycolmap.Reconstruction]:
    """Models of the images by COLMAP's incremental mapper, with cameras as they are."""
    blank = pycolmap.Reconstruction()
    image_ids = add_views(blank, images)
    config = ReconstructionConfig()
    options = mapper_options(config, blank.cameras.values())
    options.ba_refine_focal_length = options.ba_refine_extra_params = False
    # A walk along a street looks ahead: its baselines are short, and lead into the picture.
    options.mapper.init_min_tri_angle, options.mapper.init_max_forward_motion = 3.0, 1.0
    options.mapper.init_min_num_inliers = 40
    options.mapper.abs_pose_min_num_inliers, options.mapper.abs_pose_min_inlier_ratio = 15, 0.15
    options.mapper.filter_min_tri_angle = options.triangulation.min_angle = 0.75
    with quiet_colmap(), temporary_folder("geo") as folder:
        path = folder / "database.db"
        write_database(path, blank, image_ids, matches)
        verify_pairs(path, config)
        return list(pycolmap.incremental_mapping(path, folder, folder, options=options).values())


def place_views(views: Mapping[str, ReconstructedView], tags: Mapping[str, GeoPosition]) -> Registration:
    """Move a reconstruction to where tags put its views, level as its cameras are on average.

    Views that end up far from their tags are left out. Raises GeoError where nobody knows which of them are, or tags
    give no scale, as those of a receiver that is stuck.
    """
    sfm_from_cameras = {name: view.sfm_from_camera for name, view in views.items()}
    centres = {name: pose.translation for name, pose in sfm_from_cameras.items()}
    up = _mean_up(sfm_from_cameras.values())
    try:
        fit = fit_to_positions(centres, tags, up, GEO_SIGMA_M)
    except MapError as error:
        raise GeoError(f"the views cannot be placed by their positions: {error}") from error
    if fit.scale_error > _MOST_SCALE_SIGMA:
        raise GeoError(
            f"the positions of the views give the scale only to {100 * fit.scale_error:.0f} %: within their errors "
            "they are nearly one place, as those of a receiver that is stuck, or rounded: correct them, or remove them"
        )
    poses = {name: fit.map_from_sfm.apply_to_pose(pose) for name, pose in sfm_from_cameras.items()}
    names = [name for name in poses if name in tags]
    tagged = local_positions([tags[name] for name in names], fit.origin)
    placed = np.array([poses[name].translation for name in names])
    errors = np.linalg.norm((placed - tagged)[:, :2], axis=1)
    sigmas = np.array([tags[name].sigma or GEO_SIGMA_M for name in names])
    fits, tilt = errors <= _MOST_SIGMAS * sigmas, math.radians(_MEAN_TILT_SIGMA_DEG)
    wrong = {name: float(error) for name, error, is_right in zip(names, errors, fits, strict=True) if not is_right}
    _refuse_rival({name: centres[name] for name in wrong}, tags, up, int(fits.sum()))
    return Registration(
        EnuFrame(fit.origin.latitude, fit.origin.longitude, fit.origin.altitude or 0.0),
        {name: pose for name, pose in poses.items() if name not in wrong},
        {name: view.precision.scaled(fit.map_from_sfm.scale) for name, view in views.items() if name not in wrong},
        common_error(placed[fits], tagged[fits], np.column_stack([sigmas, sigmas, HEIGHT_FACTOR * sigmas])[fits], tilt),
        wrong,
    )


def _refuse_rival(misfits: Mapping[str, Array], tags: Mapping[str, GeoPosition], up: Up, num_fitting: int) -> None:
    """Raise GeoError where the views that do not fit agree on another place, and are not much fewer."""
    try:
        rival = fit_to_positions(misfits, tags, up, GEO_SIGMA_M)
    except MapError:
        return  # they contradict each other as well
    names = [name for name in misfits if name not in rival.outliers]
    if len(names) >= _MUCH_FEWER * num_fitting:
        raise GeoError(
            f"the positions of {named_views(names)} agree with each other, and place the reconstruction "
            f"elsewhere than those of the other {num_fitting}: correct the wrong ones ('visloc geo add --list'), or "
            "remove these views"
        )


def contradicted_headings(views: Iterable[View], registration: Registration) -> dict[str, float]:
    """How many degrees the headings in tags are from the registered ones, by view, where that is beyond four sigma.

    Views that were registered before have no tag's heading any more.
    """
    common_deg = math.degrees(math.sqrt(registration.common.covariance[5, 5]))
    found = {}
    for view in views:
        pose, angles = registration.poses.get(view.name), view.orientation
        if pose is None or angles is None or view.is_registered:
            continue
        turn = heading_difference_deg(angles.heading_deg, angles_of(pose.rotation)[0])
        sigma_deg = COMPASS_SIGMA_DEG if angles.sigma_deg is None else angles.sigma_deg
        own_deg = registration.precisions[view.name].rotation_sigma_deg
        if abs(turn) > _MOST_SIGMAS * math.hypot(sigma_deg, common_deg, own_deg):
            found[view.name] = turn
    return found


def write_poses(database: GeoDatabase, registration: Registration) -> None:
    """Give the views their registered positions and orientations; the tags that they had are kept beside them.

    Those that do not fit keep their tags, which say nothing until they are corrected.
    """
    number = _number_after(database.settings().get(REGISTRATION))
    # First: views that a killed process leaves behind are of an earlier registration, and count as they were tagged.
    database.write_settings(**registration.common.to_settings(registration.frame), **{REGISTRATION: number})
    for name, pose in registration.poses.items():
        view, (heading, pitch, roll) = database.view(name), angles_of(pose.rotation)
        lat, lng, alt = (float(value) for value in registration.frame.to_geodetic(pose.translation)[0])
        precision = registration.precisions[name]
        position = GeoPosition(lat, lng, alt, precision.position_sigma)
        others = {key: value for key, value in view.others.items() if key != MISFIT} | {REGISTRATION: number}
        if not view.is_registered:
            others[ORIGINAL_TAG] = view.position and [getattr(view.position, name) for name in TAG_VALUES]
        orientation = Orientation(heading, pitch, roll, precision.rotation_sigma_deg)
        database.update(replace(view, position=position, orientation=orientation, others=others))
    for name, distance_m in registration.misfits.items():
        view = database.view(name)
        tagged = view.retagged(view.tagged_position, None if view.is_registered else view.orientation)
        database.update(replace(tagged, others={**tagged.others, MISFIT: distance_m}))


def _number_after(last: Any) -> int:
    return last + 1 if isinstance(last, int) else 1


def _mean_up(sfm_from_cameras: Iterable[SE3]) -> Up:
    down = np.mean([pose.rotation[:, 1] for pose in sfm_from_cameras], axis=0)
    return Up(-down / np.linalg.norm(down), _MEAN_TILT_SIGMA_DEG, "cameras held upright")


def _pairs(views: Sequence[View], frame: EnuFrame, alike: AlikeViews) -> list[Pair]:
    """Pairs of views, each with those nearest by their tags and those that show the same; all with untagged ones."""
    metres = np.full((len(views), 2), np.nan)
    for row, view in enumerate(views):
        if view.position is not None:
            metres[row] = frame.from_geodetic([view.position.latitude, view.position.longitude, 0.0])[0, :2]
    pairs = set[Pair]()
    for row, position in enumerate(metres):
        distances = np.nan_to_num(np.linalg.norm(metres - position, axis=1), nan=0.0)
        nearest = np.argsort(distances, kind="stable")[: _PARTNERS + 1]
        pairs |= {(min(row, int(other)), max(row, int(other))) for other in nearest if other != row}
    row_of = {view.name: row for row, view in enumerate(views)}
    for row, view in enumerate(views):
        others = [row_of[name] for name in alike.get(view.name, ()) if name in row_of]
        pairs |= {(min(row, other), max(row, other)) for other in others}
    return sorted(pairs)
