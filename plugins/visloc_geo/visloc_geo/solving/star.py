"""A small reconstruction about the photo from its matches alone, placed in the local frame by the tags' positions.

It begins with the photo and one view (essential matrix), adds the other views by resection, and needs no heading. Its
frame is the photo's camera; its unit the distance of the first view. Seven numbers place it: two positions and the
direction of gravity give them, because a row of views along a street leaves the turn about the street open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.observations import QUERY, Observations, Scene, agreement
from visloc_geo.solving.policies import MAX_POSE_ERROR_PX
from visloc_geo.solving.triangulation import triangulate
from visloc_geo.solving.two_view import MAX_ERROR_PX, MIN_INLIERS
from visloc_geo.solving.types import Tag
from visloc_ros.core.geometry import SE3, Array, mean_rotation, rotation_angle_deg, rotation_matrix
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import solve_pose

_FARTHEST_SIGMAS = 3.0  # a tag farther off counts as wrong
_MOST_PAIRS = 10
_UP, _DOWN_AXIS = np.array([0.0, 0.0, 1.0]), 1


@dataclass(frozen=True, eq=False)
class Star:
    """Poses and points in the frame of the photo's camera; ``is_placed`` (V,) marks the views that have a pose."""

    scene: Scene
    is_placed: NDArray[np.bool_]


def reconstruct(observations: Observations, motions: Sequence[SE3], config: SolvingConfig) -> Star | None:
    """The reconstruction from the motions ``query_from_view`` of all views; None where none shows parallax.

    It begins with each pair, and the best is kept: two motions explain what a pair sees of one house front
    (Longuet-Higgins 1986).
    """
    pairs = [_with_view(observations, view, motion) for view, motion in enumerate(motions, start=1)]
    pairs.sort(key=lambda one: -_num_known(one.scene.points))
    stars = [
        _extended(observations, pair, config)
        for pair in pairs[:_MOST_PAIRS]
        if _num_known(pair.scene.points) >= MIN_INLIERS
    ]
    return max(stars, key=lambda one: agreement(observations, one.scene, MAX_ERROR_PX), default=None)


def _extended(observations: Observations, star: Star, config: SolvingConfig) -> Star:
    """With all other views that can be added, those that see the most points first."""
    tried = {int(view) for view in np.flatnonzero(star.is_placed)}
    while len(tried) < len(observations.cameras):
        known = {v: _num_known(star.scene.points[_points_of(observations, v)]) for v in _views(observations)}
        view = max((one for one in known if one not in tried), key=known.__getitem__)
        tried.add(view)
        if known[view] >= MIN_INLIERS:
            star = _with_resected(observations, star, view, config)
    return star


def placed(star: Star, observations: Observations) -> Scene | None:
    """The scene in the local frame; poses of views that have none are NaN. None where the tags do not place it."""
    found = max(_similarities(star, observations), key=lambda one: one[0], default=None)
    if found is None:
        return None
    _, scale, rotation, translation = found
    centres = scale * star.scene.centres @ rotation.T + translation
    points = scale * star.scene.points @ rotation.T + translation
    return _with_rigid_groups(observations, Scene(rotation @ star.scene.rotations, centres, points), star.is_placed)


def levelled_rotations(star: Star, observations: Observations) -> Array:
    """Rotations (V, 3, 3) of the views in a level frame of any heading, NaN for views without a pose."""
    views = [view for view in _views(observations) if star.is_placed[view] and view != QUERY]
    return np.asarray(_levelled(star, observations, views)[0] @ star.scene.rotations)


def _views(observations: Observations) -> range:
    return range(len(observations.cameras))


def _points_of(observations: Observations, view: int) -> NDArray[np.intp]:
    return observations.point[observations.rows_of(view)]


def _num_known(points: Array) -> int:
    return int(np.isfinite(points).all(axis=1).sum())


def _with_view(observations: Observations, view: int, query_from_view: SE3) -> Star:
    """The photo and one view, at the distance 1."""
    count = len(observations.cameras)
    rotations, centres = np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan)
    rotations[QUERY], centres[QUERY] = np.eye(3), 0.0
    rotations[view], centres[view] = query_from_view.rotation, query_from_view.translation
    scene = Scene(rotations, centres, np.full((observations.num_points, 3), np.nan))
    return _with_points(observations, Star(scene, np.isfinite(centres).all(axis=1)))


def _with_points(observations: Observations, star: Star) -> Star:
    """Points that had no parallax before are added."""
    old = star.scene
    fresh = triangulate(observations.of(star.is_placed[observations.view]), old, np.inf)
    points = np.where(np.isfinite(old.points), old.points, fresh)
    return Star(Scene(old.rotations, old.centres, points), star.is_placed)


def _with_resected(observations: Observations, star: Star, view: int, config: SolvingConfig) -> Star:
    rows = observations.rows_of(view)
    points = star.scene.points[observations.point[rows]]
    known = np.isfinite(points).all(axis=1)
    poses = PoseConfig(max_error_px=MAX_POSE_ERROR_PX, seed=config.seed)
    found = solve_pose(observations.pixels[rows][known], points[known], observations.cameras[view], poses)
    if found is None or found.is_by_chance or found.num_inliers < MIN_INLIERS:
        return star
    rotations, centres = star.scene.rotations.copy(), star.scene.centres.copy()
    rotations[view], centres[view] = found.map_from_camera.rotation, found.map_from_camera.translation
    is_placed = star.is_placed | (np.arange(len(centres)) == view)
    return _with_points(observations, Star(Scene(rotations, centres, star.scene.points), is_placed))


def _similarities(star: Star, observations: Observations) -> Iterator[tuple[float, float, Array, Array]]:
    """Score, scale, rotation and translation of ``enu_from_star`` by each pair of places."""
    views = [view for view in _views(observations) if star.is_placed[view] and view != QUERY]
    level, has_heading = _levelled(star, observations, views)
    centres = star.scene.centres[views] @ level.T
    tagged = np.array([observations.tags[view].position for view in views])
    sigma = np.array([max(observations.tags[view].position_sigma_m, 1.0) for view in views])
    for first, second in combinations(range(len(views)), 2):
        if observations.groups[views[first]] == observations.groups[views[second]]:
            continue
        step, wanted = centres[second] - centres[first], tagged[second] - tagged[first]
        square = float(step @ step) if has_heading else float(step[:2] @ step[:2])
        if square < 1e-12:
            continue
        along, across = float(step[:2] @ wanted[:2]), float(step[0] * wanted[1] - step[1] * wanted[0])
        turn = np.eye(3) if has_heading else rotation_matrix([0.0, 0.0, np.arctan2(across, along)])
        scale = float(step @ wanted) / square if has_heading else float(np.hypot(along, across)) / square
        if scale > 0.0:
            turned = scale * centres @ turn.T
            translation = np.median(tagged - turned, axis=0)
            errors = np.linalg.norm(tagged - turned - translation, axis=1) / sigma
            yield -float(np.minimum(errors, _FARTHEST_SIGMAS).sum()), scale, turn @ level, translation


def _levelled(star: Star, observations: Observations, views: list[int]) -> tuple[Array, bool]:
    """Rotation of the local frame from the star's, and whether its heading is known; otherwise it is level alone."""
    rotations = star.scene.rotations
    tagged = [view for view in views if observations.tags[view].has_heading]
    turns = [turn for view in tagged if (turn := _turn_by_tag(observations, view, rotations[view])) is not None]
    if turns:
        return min(turns, key=lambda one: sum(rotation_angle_deg(one, other) for other in turns)), True
    upright = [view for view in (QUERY, *views) if np.isfinite(observations.tags[view].tilt_sigma_deg)]
    up = np.mean([rotations[view] @ _up_in_camera(observations.tags[view]) for view in upright], axis=0)
    axis = np.cross(up / np.linalg.norm(up), _UP)
    sine = float(np.linalg.norm(axis))
    angle = np.arctan2(sine, float(up @ _UP) / float(np.linalg.norm(up)))
    return rotation_matrix(axis * (angle / sine if sine > 0.0 else 1.0)), False


def _up_in_camera(tag: Tag) -> Array:
    """The direction (3,) of up in the camera, by the pitch and roll of the tag, of an upright one without them."""
    return -np.eye(3)[_DOWN_AXIS] if tag.rotation is None else np.asarray(tag.rotation[2])


def _turn_by_tag(observations: Observations, view: int, rotation: Array) -> Array | None:
    """Rotation of the local frame from the one in which a view has this rotation; None where its tag has none."""
    tagged = observations.tags[view].rotation
    return None if tagged is None else np.asarray(tagged @ rotation.T)


def _with_rigid_groups(observations: Observations, scene: Scene, is_placed: NDArray[np.bool_]) -> Scene:
    """Views of a panorama share one centre and keep their rotations relative to each other."""
    rotations, centres = scene.rotations.copy(), scene.centres.copy()
    for group in range(1, observations.num_groups):
        members = observations.members(group)
        seen = [view for view in members if is_placed[view]]
        turns = [turn for v in seen if (turn := _turn_by_tag(observations, v, scene.rotations[v])) is not None]
        for view in members:
            tagged = observations.tags[view].rotation
            if turns and tagged is not None:
                rotations[view] = mean_rotation(turns).T @ tagged
                centres[view] = scene.centres[seen].mean(axis=0)
    return Scene(rotations, centres, scene.points)
