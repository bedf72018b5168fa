"""Landmarks matched with their earlier observations: tracks are realigned, and lost landmarks are found again.

The keyframe is taken that saw the landmark from a similar view, and its patch is warped to the present look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap
from visloc_ros.odometry.klt.rolling_shutter import pixels_while_read
from visloc_ros.odometry.klt.tracking import Features, Ids, measure, seen_points
from visloc_ros.tracking.patches import STEPS_PX, Patches, change_of_shape, find_patches, inverted
from visloc_ros.tracking.pixels import Mask, Pixels, homogeneous, is_inside, pixels_of, sight_lines, undistort
from visloc_ros.tracking.robust_pose import fit_pose

_MIN_FOUND = 8
_MIN_AGREEING = 0.3  # share of the found landmarks that must fit one pose
_LARGEST_SLIP_PX = 1.5  # a track farther from its first observation shows another point


def realign(local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig) -> Features:
    """Put followed landmarks where their oldest observations match best, which removes slips from image to image.

    Features that no longer look like their observation stay where they are.
    """
    rows, known = local_map.landmarks.rows_of(followed.ids)
    known_rows = np.flatnonzero(known)
    points = local_map.landmarks.points[rows[known]]
    candidates = ExpectedLandmarks(followed.ids[known], points, followed.pixels[known])
    observations = oldest_observations(local_map.keyframes, candidates, pose)
    seen = np.flatnonzero(observations.owner >= 0)
    candidates = candidates[seen]
    found, matched = align_observations(
        local_map.keyframes, candidates, observations[seen], view, pose, config, levels=0
    )
    matched &= np.linalg.norm(found - candidates.pixels, axis=1) < _LARGEST_SLIP_PX
    pixels = followed.pixels.copy()
    pixels[known_rows[seen[matched]]] = found[matched]
    return measure(view.camera, followed.ids, pixels, view.turn)


def find_again(local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig) -> Features:
    """Find landmarks that should be in view at ``camera_from_odom`` but are not among the followed features."""
    if len(local_map.keyframes) < 2:
        return Features.none()
    candidates = _expected(local_map, view, pose, followed, config)
    observations = nearest_observations(local_map.keyframes, candidates, pose)
    rows = _spread(candidates, np.flatnonzero(observations.owner >= 0), view, config)
    if len(rows) < _MIN_FOUND:
        return Features.none()
    candidates = candidates[rows]
    pixels, matched = align_observations(
        local_map.keyframes, candidates, observations[rows], view, pose, config, levels=1
    )
    matched &= is_inside(pixels, view.grey, float(config.window_px // 2))
    found = measure(view.camera, candidates.ids[matched], pixels[matched], view.turn)
    return _agreeing(found, local_map, pose, config)


def _expected(
    local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig
) -> ExpectedLandmarks:
    """Landmarks that project into the image, away from every followed feature: the most reliable first.

    Old ones come first: a pose by them drifts less than one by new ones. Of landmarks whose depth was guessed the
    newest come first.
    """
    table = local_map.landmarks
    local = pose @ table.points
    pixels = np.full((len(table), 2), np.nan, dtype=np.float32)
    ahead = local[:, 2] > 0.0
    pixels[ahead] = pixels_while_read(view.camera, local[ahead], view.turn)
    free = is_inside(pixels, view.grey, float(config.window_px // 2)) & ~np.isin(table.ids, followed.ids)
    is_guessed = np.isfinite(table.expected_distances)
    rows = np.concatenate([np.flatnonzero(free & ~is_guessed), np.flatnonzero(free & is_guessed)[::-1]])
    candidates = ExpectedLandmarks(table.ids[rows], table.points[rows], pixels[rows])
    if len(candidates) == 0 or len(followed) == 0:
        return candidates
    gaps, _ = cKDTree(followed.pixels).query(candidates.pixels)
    return candidates[np.flatnonzero(gaps > _spacing_px(view, config))]


def _spread(
    candidates: ExpectedLandmarks, rows: NDArray[np.intp], view: PreparedImage, config: KltConfig
) -> NDArray[np.intp]:
    """Those of the rows (N,) that are the first in their part of the image."""
    cells = np.floor(candidates.pixels[rows] / _spacing_px(view, config)).astype(int)
    _, first = np.unique(cells, axis=0, return_index=True)
    return np.asarray(rows[np.sort(first)][: config.max_features // 2])


def _spacing_px(view: PreparedImage, config: KltConfig) -> float:
    """Half the distance between features that are spread evenly."""
    return float(0.5 * np.sqrt(view.grey.size / config.max_features))


def _agreeing(found: Features, local_map: LocalMap, pose: SE3, config: KltConfig) -> Features:
    """The found landmarks that fit one common pose; that pose may differ from the present one by the drift."""
    if len(found) < _MIN_FOUND:
        return Features.none()
    rows, _ = local_map.landmarks.rows_of(found.ids)
    points = local_map.landmarks.points[rows]
    limit = config.max_reprojection_px
    fit = fit_pose(pose, seen_points(points, found, limit), limit)
    if fit.num_inliers < max(_MIN_FOUND, _MIN_AGREEING * len(found)):
        return Features.none()
    return found[fit.inliers]


@dataclass(frozen=True)
class ViewSimilarity:
    """Largest difference to an earlier observation: angle between viewing directions in degrees, ratio of distances."""

    angle_deg: float
    zoom: float

    def allows(self, cosines: Array, zooms: Array) -> Mask:
        """Which observations (N,), by cosine of the angle and ratio of distances, are similar enough."""
        near = (zooms < self.zoom) & (zooms > 1.0 / self.zoom)
        return np.asarray(near & (cosines > np.cos(np.radians(self.angle_deg))))


_FLATTEST = 0.05  # area that is left of a patch; flatter ones are not warped
_RECOGNISABLE = ViewSimilarity(30.0, 1.8)
_COMPARABLE = ViewSimilarity(20.0, 1.25)  # to a fraction of a pixel


@dataclass(frozen=True, eq=False)
class ExpectedLandmarks:
    """Landmarks expected in view: ids (N,), points (N, 3), expected pixels (N, 2)."""

    ids: Ids
    points: Array
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: NDArray[np.generic] | slice) -> ExpectedLandmarks:
        return ExpectedLandmarks(self.ids[rows], self.points[rows], self.pixels[rows])


@dataclass(frozen=True, eq=False)
class KeyframeObservations:
    """Index of the keyframe (N,) that saw each candidate, -1 for none, and its row (N,) there."""

    owner: NDArray[np.intp]
    place: NDArray[np.intp]

    def __getitem__(self, rows: NDArray[np.generic] | slice) -> KeyframeObservations:
        return KeyframeObservations(self.owner[rows], self.place[rows])


def nearest_observations(keyframes: list[Keyframe], candidates: ExpectedLandmarks, pose: SE3) -> KeyframeObservations:
    """Of the observations recognisable at ``camera_from_odom``, those from the most similar direction."""
    rows, observations, cosines = _alike(keyframes, candidates, pose, _RECOGNISABLE)
    order = np.lexsort((observations.owner, -cosines, rows))
    return _first_of_each(rows[order], observations[order], len(candidates))


def oldest_observations(keyframes: list[Keyframe], candidates: ExpectedLandmarks, pose: SE3) -> KeyframeObservations:
    """The first observations that are comparable at ``camera_from_odom``."""
    rows, observations, _ = _alike(keyframes, candidates, pose, _COMPARABLE)
    return _first_of_each(rows, observations, len(candidates))


def _first_of_each(
    rows: NDArray[np.intp], observations: KeyframeObservations, num_candidates: int
) -> KeyframeObservations:
    """The first of the observations (M,) of candidates ``rows`` (M,) for each of the candidates."""
    owner = np.full(num_candidates, -1, dtype=np.intp)
    place = np.zeros(num_candidates, dtype=np.intp)
    seen, first = np.unique(rows, return_index=True)
    owner[seen], place[seen] = observations.owner[first], observations.place[first]
    return KeyframeObservations(owner, place)


def _alike(
    keyframes: list[Keyframe], candidates: ExpectedLandmarks, pose: SE3, similarity: ViewSimilarity
) -> tuple[NDArray[np.intp], KeyframeObservations, Array]:
    """All similar observations, oldest first: rows of the candidates (M,), observations (M,), cosines (M,) between."""
    rows, observations = _all_observations(keyframes, candidates.ids)
    now, now_distances = sight_lines(pose.inverse.translation, candidates.points)
    centres = np.stack([keyframe.camera_from_odom.inverse.translation for keyframe in keyframes])
    then, distances = sight_lines(centres[observations.owner], candidates.points[rows])
    cosines = (now[rows] * then).sum(axis=1)
    alike = np.flatnonzero(similarity.allows(cosines, distances / now_distances[rows]))
    return rows[alike], observations[alike], cosines[alike]


def _all_observations(keyframes: list[Keyframe], ids: Ids) -> tuple[NDArray[np.intp], KeyframeObservations]:
    """Row (M,) in ``ids`` (N,), none twice, of every observation (M,) by the keyframes, in their order."""
    first, last = ids.min(initial=np.iinfo(ids.dtype).max), ids.max(initial=-1)
    row_by_id = np.full(max(0, last - first + 1), -1, dtype=np.intp)  # one look-up for all keyframes
    row_by_id[ids - first] = np.arange(len(ids))
    sizes = np.array([len(keyframe.features) for keyframe in keyframes])
    seen = np.concatenate([keyframe.features.ids for keyframe in keyframes])
    wanted = np.flatnonzero((seen >= first) & (seen <= last))
    rows = row_by_id[seen[wanted] - first]
    found, rows = wanted[rows >= 0], rows[rows >= 0]
    begins = np.cumsum(sizes) - sizes
    owner = np.searchsorted(begins, found, side="right") - 1
    return rows, KeyframeObservations(owner, found - begins[owner])


def align_observations(
    keyframes: list[Keyframe],
    candidates: ExpectedLandmarks,
    observations: KeyframeObservations,
    view: PreparedImage,
    pose: SE3,
    config: KltConfig,
    levels: int,
) -> tuple[Pixels, Mask]:
    """Find candidates in a view at ``camera_from_odom``: pixels (N, 2), and which (N,) look like their observations.

    They are looked for by a pyramid with ``levels`` beside the image itself.
    """
    if len(candidates) == 0:
        return candidates.pixels, np.zeros(0, dtype=bool)
    used, owners = np.unique(observations.owner, return_inverse=True)
    seen_by = [keyframes[index] for index in used]
    pixels = np.empty((len(candidates), 2), dtype=np.float32)
    for index, keyframe in enumerate(seen_by):
        mine = owners == index
        pixels[mine] = keyframe.features.pixels[observations.place[mine]]
    shapes = _then_per_now(seen_by, candidates.points, owners, pixels, view, pose)
    patches = Patches([keyframe.pyramid for keyframe in seen_by], owners, pixels, shapes)
    return find_patches(patches, view.pyramid, candidates.pixels, config.window_px, levels)


def _then_per_now(
    keyframes: list[Keyframe], points: Array, owner: NDArray[np.intp], pixels: Pixels, view: PreparedImage, pose: SE3
) -> Array:
    """Jacobian of pixels in the keyframes by pixels now (N, 2, 2), about points (N, 3) seen at pixels (N, 2).

    Each patch is taken as a plane that faces the keyframe which saw it.
    """
    poses = [keyframe.camera_from_odom for keyframe in keyframes]
    depths = np.einsum("nj,nj->n", np.stack([item.rotation[2] for item in poses])[owner], points)
    depths += np.array([item.translation[2] for item in poses])[owner]
    now_from_then = [pose @ item.inverse for item in poses]
    rays, known = undistort(keyframes[-1].camera, (pixels + STEPS_PX[:, None]).reshape(-1, 2))
    rays[~known] = np.nan
    local = homogeneous(rays) * np.tile(depths, 3)[:, None]
    rows = np.tile(owner, 3)
    local = np.einsum("nij,nj->ni", np.stack([item.rotation for item in now_from_then])[rows], local)
    local += np.stack([item.translation for item in now_from_then])[rows]
    places = np.nan_to_num(pixels_of(view.camera, local).astype(np.float64)).reshape(3, -1, 2)
    now_per_then, areas = change_of_shape(*places)
    flat = np.abs(areas) < _FLATTEST
    now_per_then[flat], areas[flat] = np.eye(2), 1.0
    return inverted(now_per_then, areas)
