"""Landmarks that were lost and come into view again: found by their earlier looks, so that drift is taken back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import View
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap, rows_of
from visloc_ros.odometry.klt.patches import PatchSheet, align
from visloc_ros.odometry.klt.pose_refinement import refine_pose
from visloc_ros.odometry.klt.tracking import Features, Ids, Pixels, is_inside, measure, pixels_of

_WIDEST_ANGLE_COS = float(np.cos(np.radians(30.0)))  # between the earlier and the present viewing direction
_LARGEST_ZOOM = 1.8
_MIN_FOUND = 8
_MIN_AGREEING = 0.3  # share of the found landmarks that must fit one pose


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Landmarks expected in view: ids (N,), points (N, 3), expected pixels (N, 2)."""

    ids: Ids
    points: Array
    pixels: Pixels

    def __getitem__(self, rows: NDArray[np.generic]) -> _Candidates:
        return _Candidates(self.ids[rows], self.points[rows], self.pixels[rows])


def find_again(local_map: LocalMap, view: View, pose: SE3, followed: Features, config: KltConfig) -> Features:
    """Find landmarks that should be in view at ``camera_from_odom`` but are not among the followed features."""
    sheet = PatchSheet.of(view.grey, config)
    if len(local_map.keyframes) < 2:
        return Features.none()
    candidates = _expected(local_map, view, pose, followed, config)
    owner, place = _best_sightings(local_map.keyframes, candidates, pose)
    rows = np.flatnonzero(owner >= 0)[: min(sheet.capacity, config.max_features)]
    if len(rows) < _MIN_FOUND:
        return Features.none()
    candidates, owner, place = candidates[rows], owner[rows], place[rows]
    patches = np.empty((len(rows), sheet.cell, sheet.cell), dtype=np.float32)
    for index in np.unique(owner):
        mine = np.flatnonzero(owner == index)
        patches[mine] = _warped(local_map.keyframes[index], place[mine], candidates[mine], view, pose, sheet)
    pixels, matched = align(sheet, patches, view.grey, candidates.pixels, config)
    matched &= is_inside(pixels, view.grey, float(config.window_px // 2))
    found = measure(view.camera, candidates.ids[matched], pixels[matched])
    return _agreeing(found, local_map, pose, config)


def _expected(local_map: LocalMap, view: View, pose: SE3, followed: Features, config: KltConfig) -> _Candidates:
    """Landmarks that project into the image, away from every followed feature and from each other."""
    table = local_map.landmarks
    local = pose @ table.points
    pixels = np.full((len(table), 2), np.nan, dtype=np.float32)
    ahead = local[:, 2] > 0.0
    pixels[ahead] = pixels_of(view.camera, local[ahead])
    free = is_inside(pixels, view.grey, float(config.window_px // 2)) & ~np.isin(table.ids, followed.ids)
    rows = np.flatnonzero(free)[::-1]  # newest first: they look most as they do now
    candidates = _Candidates(table.ids[rows], table.points[rows], pixels[rows])
    if len(rows) == 0:
        return candidates
    spacing = 0.5 * np.sqrt(view.grey.size / config.max_features)
    if len(followed) > 0:
        gaps, _ = cKDTree(followed.pixels).query(candidates.pixels)
        candidates = candidates[gaps > spacing]
    _, first = np.unique(np.floor(candidates.pixels / spacing).astype(int), axis=0, return_index=True)
    return candidates[np.sort(first)]


def _best_sightings(
    keyframes: list[Keyframe], candidates: _Candidates, pose: SE3
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Index of the keyframe (N,) that saw each candidate most as now, -1 for none, and its row (N,) there."""
    owner = np.full(len(candidates.ids), -1)
    place = np.zeros(len(candidates.ids), dtype=np.intp)
    best = np.full(len(candidates.ids), _WIDEST_ANGLE_COS)
    now, now_distance = _sight_lines(pose, candidates.points)
    for index, keyframe in enumerate(keyframes):
        rows, seen = rows_of(keyframe.features.ids, candidates.ids)
        if not np.any(seen):
            continue
        mine = np.flatnonzero(seen)
        then, distance = _sight_lines(keyframe.camera_from_odom, candidates.points[mine])
        cosine, zoom = (now[mine] * then).sum(axis=1), distance / now_distance[mine]
        better = (cosine > best[mine]) & (zoom < _LARGEST_ZOOM) & (zoom > 1.0 / _LARGEST_ZOOM)
        chosen = mine[better]
        owner[chosen], place[chosen], best[chosen] = index, rows[chosen], cosine[better]
    return owner, place


def _sight_lines(camera_from_odom: SE3, points: Array) -> tuple[Array, Array]:
    lines = points - camera_from_odom.inverse.translation
    distances = np.maximum(np.linalg.norm(lines, axis=1), 1e-9)
    return lines / distances[:, None], distances


def _warped(
    keyframe: Keyframe, place: NDArray[np.intp], candidates: _Candidates, view: View, pose: SE3, sheet: PatchSheet
) -> NDArray[np.float32]:
    """Patches (N, cell, cell) of a keyframe as they should look now, each taken as a plane facing that keyframe."""
    pixels = keyframe.features.pixels[place].astype(np.float64)
    depths = (keyframe.camera_from_odom @ candidates.points)[:, 2]
    now_from_then = pose @ keyframe.camera_from_odom.inverse
    corners = [_transfer(keyframe, pixels + step, depths, now_from_then, view) for step in ((0, 0), (4, 0), (0, 4))]
    now_per_then = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=-1) / 4.0
    usable = np.abs(np.linalg.det(now_per_then)) > 0.05
    now_per_then[~usable] = np.eye(2)
    then_per_now = np.asarray(np.linalg.inv(now_per_then))
    return sheet.cut(keyframe.grey, keyframe.features.pixels[place], then_per_now, sheet.cell)


def _transfer(keyframe: Keyframe, pixels: Array, depths: Array, now_from_then: SE3, view: View) -> Array:
    """Where pixels (N, 2) of a keyframe at given depths (N,) lie in the present image."""
    ids = np.arange(len(pixels))
    features = measure(keyframe.camera, ids, pixels.astype(np.float32))
    rays = np.full((len(pixels), 2), np.nan)
    rays[features.ids] = features.rays
    local = np.column_stack([rays, np.ones(len(rays))]) * depths[:, None]
    return np.nan_to_num(pixels_of(view.camera, now_from_then @ local).astype(np.float64))


def _agreeing(found: Features, local_map: LocalMap, pose: SE3, config: KltConfig) -> Features:
    """The found landmarks that fit one common pose; that pose may differ from the present one by the drift."""
    if len(found) < _MIN_FOUND:
        return Features.none()
    rows, _ = local_map.landmarks.rows_of(found.ids)
    points = local_map.landmarks.points[rows]
    fit = refine_pose(pose, points, found.rays, found.pixels_per_ray, config.max_reprojection_px)
    if fit.num_inliers < max(_MIN_FOUND, _MIN_AGREEING * len(found)):
        return Features.none()
    return found[fit.inliers]
