"""The pose of the photo from points seen from several places: adjusted, judged, with its covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_geo.solving.adjustment import adjust, normal_equations, tag_errors
from visloc_geo.solving.bearings import intersect
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.intrinsics import contradicting_focal_length, is_principal_point_contradicted
from visloc_geo.solving.observations import QUERY, Observations, Scene, observe
from visloc_geo.solving.policies import MAX_POSE_ERROR_PX, pose_by_tags
from visloc_geo.solving.star import placed, reconstruct
from visloc_geo.solving.tag_covariance import covariance_of_photo
from visloc_geo.solving.triangulation import has_parallax, triangulate
from visloc_geo.solving.two_view import MAX_ERROR_PX, VerifiedView
from visloc_geo.solving.types import FOCAL_LENGTH_RATIO, GeoReason, GeoRejection, Tag
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.uncertainty import covariance_by_focal_length, noise_variance

MIN_SPREAD = 0.25
"""Of the inliers, as a share of the photo's width: less is one house front far away."""
MIN_CONSISTENT = 0.5
"""Of the points that two places share with the photo, whose matches all agree with motions of two views: a right pose
explains nearly all, one by a wrong motion a quarter."""
_MOST_DEVIATION = 3.0
"""Standard deviations of a tag beyond which it counts as wrong."""
_ROUGHLY, _EXACTLY = 10.0, 0.01
"""Least gain of a step of the adjustment: to compare starts, and of the answer, to a tenth of a standard deviation."""
_GAUGE = 7  # numbers that the matches leave to the tags: a similarity
_DOUBTED = 0.95  # probability of a smaller error of tags whose sigmas are honest
_MOST_TAG_ERROR_RATIO = 5.0
_HEADING, _MOST_HEADING_SIGMA = 5, 0.35
"""Number of the heading in a covariance, and radians beyond which its error is not small: the scene may be turned by
any angle, and as well the wrong way round."""
_WRONG_TAG, _MOST_WRONG_TAGS = 5.0, 0.34  # standard deviations of a tag that counts as wrong, and their largest share


@dataclass(frozen=True, eq=False)
class Solution:
    """The photo's pose, its covariance (6, 6), and the rows of its keypoints that agree.

    ``tag_error_ratio`` is how many times the tags err more than their standard deviations.
    ``log_focal`` and ``focal_sigma`` are the logarithm of the focal length, divided by the given one, and its standard
    deviation; 0 where it was given exactly. ``views`` are the views' poses, ``view_sigma_m`` is the median standard
    deviation of their tags.
    """

    enu_from_camera: SE3
    covariance: Array
    inliers: NDArray[np.intp]
    references: tuple[str, ...]
    error_px: float
    tag_error_ratio: float
    log_focal: float
    focal_sigma: float
    views: Mapping[str, SE3]
    view_sigma_m: float


def solve(
    camera: pycolmap.Camera,
    keypoints: Array,
    views: Sequence[VerifiedView],
    config: SolvingConfig,
    prior: Tag | None,
    focal_sigma: float = 0.0,
) -> Solution | GeoRejection:
    """The pose by verified views, or why there is none."""
    observations, rows = observe(camera, keypoints, views, prior, focal_sigma)
    possible = rows[_confirmed(observations)]
    solved = _solved(observations, views, config)
    if isinstance(solved, tuple):  # some views have no place in the reconstruction
        observations, rows = observe(camera, keypoints, solved, prior, focal_sigma)
        solved = _solved(observations, solved, config)
    if not isinstance(solved, _Refined):
        return GeoRejection(GeoReason.NO_PARALLAX, {"places": float(observations.num_groups - 1)})
    without_parallax = rows[~has_parallax(observations, solved.scene)]
    return _judged(observations, rows, solved, int((~np.isin(possible, without_parallax)).sum()), config)


def _solved(
    observations: Observations, views: Sequence[VerifiedView], config: SolvingConfig
) -> _Refined | tuple[VerifiedView, ...] | None:
    """The best adjusted scene, None without parallax; or the views to try alone, where others cannot be added."""
    if observations.num_groups <= 2:
        return None
    star = reconstruct(observations, [one.query_from_view for one in views], config)
    by_star = None if star is None else placed(star, observations)
    if by_star is not None:
        has_pose = np.asarray(np.isfinite(by_star.rotations[1:]).all(axis=(1, 2)))
        if not has_pose.all():
            return tuple(one for one, is_kept in zip(views, has_pose, strict=True) if is_kept)
    starts = [by_star, _by_tags(observations, config)]
    adjusted = [_adjusted(observations, one, config) for one in starts if one is not None]
    if not adjusted:
        return None
    scene, _ = min(adjusted, key=lambda one: one[1])
    return _refined(observations, scene, config)


def _by_tags(observations: Observations, config: SolvingConfig) -> Scene | None:
    """The views where their tags place them, and the photo by the policy."""
    tagged = observations.tags[1:]
    if not all(one.has_heading for one in tagged):
        return None
    pose = pose_by_tags(observations, config)
    if pose is None:
        return None
    rotations = np.array([pose.rotation, *(one.rotation for one in tagged)])
    centres = np.array([pose.translation, *(one.position for one in tagged)])
    return Scene(rotations, centres, np.full((observations.num_points, 3), np.nan))


def _adjusted(observations: Observations, scene: Scene, config: SolvingConfig) -> tuple[Scene, float]:
    """The adjusted scene, and a cost that scenes of different points share: of all rays and tags, as MSAC has it."""
    start = replace(scene, points=_filled(observations, scene, config))
    best = adjust(observations, start, _ROUGHLY)
    errors = np.minimum(_errors_of_rays(observations, best) / MAX_ERROR_PX, 1.0)
    tags, sigmas = tag_errors(observations, best)
    deviations = np.minimum(np.abs(tags / sigmas) / _MOST_DEVIATION, 1.0)
    return best, float(np.square(errors).sum() + np.square(deviations).sum())


def _errors_of_rays(observations: Observations, scene: Scene) -> Array:
    """Distances (O,) in pixels from the points where rays come nearest, with or without parallax.

    Of the points with parallax alone, a wrong scene can have more than the right one: it shifts views to the side.
    """
    rays = scene.centres[observations.view], scene.directions(observations)
    points, _ = intersect(*rays, observations.point, observations.num_points)
    return np.asarray(np.linalg.norm(scene.residuals(observations, points[observations.point]), axis=1))


def _filled(observations: Observations, scene: Scene, config: SolvingConfig) -> Array:
    """The scene's points, and by triangulation those that it lacks."""
    fresh = triangulate(observations, scene, config.points_distance_thr)
    return np.where(np.isfinite(scene.points), scene.points, fresh)


@dataclass(frozen=True, eq=False)
class _Refined:
    observations: Observations
    scene: Scene
    numbers: NDArray[np.intp]  # of the points among all


def _refined(observations: Observations, scene: Scene, config: SolvingConfig) -> _Refined:
    """The scene adjusted by the points that the photo and two other places agree on.

    A wrong match with one view alone meets in a point, too, and nothing contradicts it: near a camera it would
    outweigh all others.
    """
    scene = replace(scene, points=_filled(observations, scene, config))
    agreeing = observations.of(_agreeing(observations, scene))
    points = triangulate(agreeing, scene, config.points_distance_thr)
    confirmed = np.where(_confirmed(agreeing)[:, None], points, np.nan)
    scene = adjust(agreeing, replace(scene, points=confirmed), _EXACTLY)
    agree = _agreeing(observations, scene)
    numbers = np.flatnonzero(np.isfinite(scene.points).all(axis=1))
    rows = np.flatnonzero(agree)
    kept = observations.with_points(rows, np.searchsorted(numbers, observations.point[rows]), len(numbers))
    return _Refined(kept, replace(scene, points=scene.points[numbers]), numbers)


def _agreeing(observations: Observations, scene: Scene) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(scene.residuals(observations), axis=1) <= MAX_POSE_ERROR_PX)


def _judged(
    observations: Observations, rows: NDArray[np.intp], refined: _Refined, possible: int, config: SolvingConfig
) -> Solution | GeoRejection:
    """Accept a pose with enough points that two other places confirm, over a part of the photo."""
    seen, scene = refined.observations, refined.scene
    confirmed = _confirmed(seen)  # some no longer are, after the adjustment
    counts = {"inliers": float(confirmed.sum()), "possible": float(possible)}
    if confirmed.sum() < max(config.min_inliers, MIN_CONSISTENT * possible):
        return GeoRejection(GeoReason.FEW_INLIERS, counts)
    in_photo = np.isin(observations.point, refined.numbers[confirmed]) & (observations.view == QUERY)
    spread = float(np.ptp(observations.pixels[in_photo][:, 0])) / observations.cameras[QUERY].width
    if spread < MIN_SPREAD:
        return GeoRejection(GeoReason.NARROW_INLIERS, counts | {"share_of_width": spread})
    residuals = scene.residuals(seen)
    information = np.full(len(residuals), 1.0 / _variance(seen, residuals))
    of_all = normal_equations(seen, scene, information).covariance()
    if of_all is None:
        return GeoRejection(GeoReason.NO_REGULAR_SOLUTION, counts)
    covariance = covariance_of_photo(seen, scene, of_all)
    heading_sigma = float(np.sqrt(max(covariance[_HEADING, _HEADING], 0.0)))
    if not heading_sigma <= _MOST_HEADING_SIGMA:
        return GeoRejection(GeoReason.NO_REGULAR_SOLUTION, counts | {"heading_sigma_deg": np.degrees(heading_sigma)})
    pose = SE3(scene.rotations[QUERY], scene.centres[QUERY])
    if doubt := min(seen.focal_sigma, MAP_FOCAL_SIGMA):
        camera = scene.camera(seen, QUERY)
        covariance += covariance_by_focal_length(pose, scene.points[confirmed], camera, doubt)
    if shown := contradicting_focal_length(seen, scene, information):
        return GeoRejection(GeoReason.INTRINSICS_MISMATCH, counts | {FOCAL_LENGTH_RATIO: math.exp(shown)})
    if is_principal_point_contradicted(seen, scene, information):
        return GeoRejection(GeoReason.INTRINSICS_MISMATCH, counts)
    ratio = _tag_error_ratio(seen, scene)
    if ratio > _MOST_TAG_ERROR_RATIO:
        return GeoRejection(GeoReason.TAGS_CONTRADICT, counts | {"tag_error_ratio": ratio})
    used = [int(view) for view in np.unique(seen.view) if view != QUERY]
    return Solution(
        pose,
        covariance,
        rows[refined.numbers[confirmed]],
        tuple(observations.names[view] for view in used),
        float(np.median(np.linalg.norm(residuals, axis=1))),
        ratio,
        scene.log_focal,
        _focal_sigma(of_all, seen),
        {observations.names[view]: SE3(scene.rotations[view], scene.centres[view]) for view in used},
        ratio * float(np.median([observations.tags[view].position_sigma_m for view in used])),
    )


def _focal_sigma(covariance: Array, seen: Observations) -> float:
    """Relative standard deviation of the photo's focal length; errors that keypoints share do not average out."""
    if not seen.focal_sigma:
        return 0.0
    return min(seen.focal_sigma, float(np.hypot(covariance[-1, -1] ** 0.5, MAP_FOCAL_SIGMA)))


def _confirmed(seen: Observations) -> NDArray[np.bool_]:
    """Which points (N,) the photo and two other groups see."""
    groups = np.zeros((seen.num_points, seen.num_groups), bool)
    groups[seen.point, seen.groups[seen.view]] = True
    return np.asarray(groups[:, QUERY] & (groups[:, 1:].sum(axis=1) >= 2))


def _variance(seen: Observations, residuals: Array) -> float:
    """Variance of the keypoints in square pixels, for the unknowns that were fitted to them."""
    unknowns = 3 * seen.num_points + 6 * seen.num_groups - _GAUGE
    return noise_variance(residuals, PoseConfig()) * residuals.size / max(residuals.size - unknowns, 1)


def _tag_error_ratio(seen: Observations, scene: Scene) -> float:
    """How many times the tags err more than stated; 1 where chance explains it (global test of an adjustment).

    The adjustment gives single wrong tags little weight, so they say nothing of the others.
    """
    errors, sigmas = tag_errors(seen, scene)
    squares, known = np.square(errors / sigmas), np.isfinite(sigmas)
    wrong = squares.sum(axis=1) > known.sum(axis=1) * _WRONG_TAG**2
    if wrong.sum() <= _MOST_WRONG_TAGS * seen.num_groups:
        squares, known = squares[~wrong], known[~wrong]
    freedom = int(known.sum()) - _GAUGE
    if freedom <= 0 or squares.sum() <= chi_square_quantile(_DOUBTED, freedom):
        return 1.0
    return float(np.sqrt(squares.sum() / freedom))
