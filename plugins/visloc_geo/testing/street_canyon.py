"""A street between two facades, with panoramas along it: exactly known matches for locating a photo by tagged views.

The street runs north, 20 m wide. Each panorama is cut into eight views, and its tag errs as a whole. Or people took
photos along it, whose tags hold positions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pycolmap
from numpy.random import Generator
from numpy.typing import NDArray

from visloc_geo.orientation import angles_of, heading_difference_deg, rotation_of
from visloc_geo.solving import Reference, Tag
from visloc_ros.core.camera import camera_from_params, project
from visloc_ros.core.geometry import SE3, Array, rotation_matrix

NUM_POINTS, HALF_WIDTH, RELIEF, LENGTH, ABOVE, BELOW = 6000, 10.0, 0.4, 160.0, 8.0, 2.0
SPACING, DIRECTIONS, PHOTO_SPACING = 15.0, 8, 6.0
UPWARDS = np.array([1.0, 1.0, 0.5])  # errors of heights, as a share of the others
NEAREST_POINT, FARTHEST_POINT = 1.0, 60.0
NEAREST_SIDE, FARTHEST_VIEW, WIDEST_TURN_DEG = 4.0, 40.0, 60.0
STUCK_DEG, TURNED_DEG = 89.0, 90.0
NUM_KEYPOINTS, NUM_REFERENCES, LEAST_COMMON = 600, 10, 20
CAMERA = camera_from_params("PINHOLE", 640, 640, [320.0, 320.0, 320.0, 320.0])  # 90 degrees


@dataclass(frozen=True)
class TagErrors:
    """Standard deviations of the tags: position along each horizontal axis (half of it upwards), heading, tilt."""

    position_m: float = 0.0
    heading_deg: float = 0.0
    tilt_deg: float = 0.0

    def times(self, factor: float) -> TagErrors:
        """All of them, larger or smaller."""
        return TagErrors(factor * self.position_m, factor * self.heading_deg, factor * self.tilt_deg)


@dataclass(frozen=True)
class CanyonConfig:
    """How keypoints err, how many matches there are, and what the tags state (``errors`` unless given).

    ``panoramas`` are the nearest ones that are kept, None for all. With ``photos`` instead of panoramas
    ``errors.tilt_deg`` is by how much people hold their phones aslant. Errors of positions are shared along the street:
    their correlation falls to 1/e in ``correlation_m``; those of headings by all tags if ``same_compass``.
    Photos have headings by a ``compass`` that is right, always shows the same, or is off by 90 degrees in each second.
    """

    errors: TagErrors = TagErrors()
    stated: TagErrors | None = None
    noise_px: float = 1.0
    wrong_matches: float = 0.2
    matched: float = 0.5
    photos: bool = False
    panoramas: int | None = None
    correlation_m: float = 0.0
    same_compass: bool = False
    compass: Literal["none", "right", "stuck", "turned"] = "none"


@dataclass(frozen=True, eq=False)
class CanyonTrial:
    """One photo in the street: what ``locate`` takes, and the truth."""

    camera: pycolmap.Camera
    keypoints: Array
    references: tuple[Reference, ...]
    enu_from_camera: SE3


def simulate_canyon(seed: int, config: CanyonConfig | None = None) -> CanyonTrial:
    """A street with a photo in it; the same seed gives the same one."""
    config, rng = config or CanyonConfig(), np.random.default_rng(seed)
    points = _facades(rng)
    query = _query_pose(rng)
    pixels, seen = _observe(query, points, rng, config.noise_px)
    chosen = rng.permutation(seen)[:NUM_KEYPOINTS]
    views = _photos(query, rng, config) if config.photos else _panoramas(query, rng, config)
    common = [np.intersect1d(chosen, _observe(view.pose, points, rng, 0.0)[1]) for view in views]
    best = sorted(range(len(views)), key=lambda one: -len(common[one]))[:NUM_REFERENCES]
    references = tuple(
        _reference(views[one], points, chosen, common[one], rng, config)
        for one in best
        if len(common[one]) >= LEAST_COMMON
    )
    return CanyonTrial(CAMERA, pixels[chosen], references, query)


@dataclass(frozen=True, eq=False)
class _View:
    name: str
    panorama: str | None
    pose: SE3
    tag: Tag


def _facades(rng: Generator) -> Array:
    side = np.where(rng.random(NUM_POINTS) < 0.5, -HALF_WIDTH, HALF_WIDTH)
    x = side + rng.uniform(-RELIEF, RELIEF, NUM_POINTS)
    y, z = rng.uniform(0.0, LENGTH, NUM_POINTS), rng.uniform(-BELOW, ABOVE, NUM_POINTS)
    return np.column_stack([x, y, z])


def _query_pose(rng: Generator) -> SE3:
    at = [rng.uniform(-NEAREST_SIDE, NEAREST_SIDE), rng.uniform(0.3, 0.7) * LENGTH, rng.uniform(-0.5, 0.5)]
    return SE3(rotation_of(rng.uniform(0.0, 360.0), *rng.normal(0.0, 3.0, 2)), np.array(at))


def _panoramas(query: SE3, rng: Generator, config: CanyonConfig) -> list[_View]:
    places = [np.array([0.0, y, 0.0]) for y in np.arange(SPACING / 3.0, LENGTH, SPACING)]
    if config.panoramas is not None:
        places = sorted(places, key=lambda at: float(np.linalg.norm(at - query.translation)))[: config.panoramas]
    positions, turns = np.moveaxis(rng.normal(0.0, 1.0, (len(places), 2, 3)), 1, 0)
    if config.same_compass:
        turns[:, 2] = turns[0, 2]
    errors = _position_errors(positions, np.array([at[1] for at in places]), config)
    turns *= np.radians([config.errors.tilt_deg, config.errors.tilt_deg, config.errors.heading_deg])
    return [
        view
        for number, at in enumerate(places)
        for view in _views(number, at, at + errors[number], rotation_matrix(turns[number]), query, config)
    ]


def _position_errors(white: Array, along: Array, config: CanyonConfig) -> Array:
    """Errors (N, 3) of tags at places (N,) along the street, a Gauss-Markov process made of independent ones (N, 3)."""
    if config.correlation_m > 0.0:
        white = np.linalg.cholesky(np.exp(-np.abs(along[:, None] - along) / config.correlation_m)) @ white
    return config.errors.position_m * UPWARDS * white


def _photos(query: SE3, rng: Generator, config: CanyonConfig) -> list[_View]:
    """Photos on both sides of the axis that look about where the query looks."""
    stated, sigma, heading, poses = config.stated or config.errors, config.errors, angles_of(query.rotation)[0], []
    along = np.arange(PHOTO_SPACING / 2.0, LENGTH, PHOTO_SPACING)
    of_compass = rng.spawn(1)[0].normal(0.0, sigma.heading_deg, len(along))
    headings, white = np.empty(len(along)), np.empty((len(along), 3))
    for number, y in enumerate(along):
        at = np.array([rng.uniform(-NEAREST_SIDE, NEAREST_SIDE), y, rng.normal(0.0, 0.2)])
        headings[number] = heading + rng.uniform(-WIDEST_TURN_DEG, WIDEST_TURN_DEG)
        poses.append(SE3(rotation_of(headings[number], *rng.normal(0.0, sigma.tilt_deg, 2)), at))
        white[number] = rng.normal(0.0, 1.0, 3)
    errors = _position_errors(white, along, config)
    sigmas = stated.position_m, stated.position_m / 2.0, stated.heading_deg, stated.tilt_deg
    return [
        _View(
            f"photo{number:02d}",
            None,
            pose,
            Tag(
                pose.translation + errors[number],
                _by_compass(config.compass, headings[number] + of_compass[number], number),
                *sigmas,
            ),
        )
        for number, pose in enumerate(poses)
        if np.linalg.norm(pose.translation - query.translation) <= FARTHEST_VIEW
    ]


def _by_compass(compass: str, heading_deg: float, number: int) -> Array | None:
    """The rotation (3, 3) of a level tag with the heading that a compass shows, None without one."""
    is_turned = compass == "turned" and number % 2 == 1
    shown = {"right": heading_deg, "stuck": STUCK_DEG, "turned": heading_deg + TURNED_DEG * is_turned}
    return None if compass == "none" else rotation_of(shown[compass])


def _views(number: int, at: Array, moved: Array, turn: Array, query: SE3, config: CanyonConfig) -> list[_View]:
    """The views of a panorama that look where the query looks, near it; tags place it elsewhere and turned."""
    stated = config.stated or config.errors
    if np.linalg.norm(at - query.translation) > FARTHEST_VIEW:
        return []
    heading, views = angles_of(query.rotation)[0], []
    for direction in range(0, 360, 360 // DIRECTIONS):
        if abs(heading_difference_deg(direction, heading)) <= WIDEST_TURN_DEG:
            rotation = rotation_of(direction)
            tag = Tag(
                moved,
                turn @ rotation,
                stated.position_m,
                stated.position_m / 2.0,
                stated.heading_deg,
                stated.tilt_deg,
            )
            name = f"panorama{number:02d}"
            views.append(_View(f"{name}_{direction:03d}", name, SE3(rotation, at), tag))
    return views


def _observe(pose: SE3, points: Array, rng: Generator, noise_px: float) -> tuple[Array, NDArray[np.intp]]:
    """Pixels (N, 2) of all points, and the rows of those that are seen."""
    in_camera = pose.inverse @ points
    exact = project(CAMERA, in_camera)
    distance = np.linalg.norm(in_camera, axis=1)
    size = np.array([CAMERA.width, CAMERA.height])
    with np.errstate(invalid="ignore"):
        inside = np.all((exact >= 0) & (exact < size), axis=1)
    seen = np.flatnonzero(inside & (distance >= NEAREST_POINT) & (distance <= FARTHEST_POINT))
    return exact + rng.normal(0.0, 1.0, exact.shape) * noise_px, seen


def _reference(
    view: _View, points: Array, chosen: NDArray[np.intp], common: NDArray[np.intp], rng: Generator, config: CanyonConfig
) -> Reference:
    """A view with some of the common points matched, and some of the matches wrong."""
    matched = rng.permutation(common)[: round(config.matched * len(common))]
    keypoints = _observe(view.pose, points, rng, config.noise_px)[0][matched]
    rows = {int(point): row for row, point in enumerate(chosen)}
    in_view = np.arange(len(matched))
    wrong = rng.permutation(len(matched))[: round(config.wrong_matches * len(matched))]
    in_view[wrong] = np.roll(in_view[wrong], 1)
    matches = np.column_stack([[rows[int(point)] for point in matched], in_view]).astype(np.intp)
    confidence = rng.uniform(0.6, 1.0, len(matched))
    return Reference(view.name, CAMERA, view.tag, keypoints, matches, confidence, view.panorama)
