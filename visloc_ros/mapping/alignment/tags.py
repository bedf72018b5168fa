"""Moves a map to the frame of AprilTags with known places on the walls (Wang and Olson, "AprilTag 2", 2016).

Frames that show the tags are found in the map; each tag's corners are triangulated from all frames that see it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from visloc_ros.core.camera import rays
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.files import read_text
from visloc_ros.core.geometry import SE3, Array, umeyama
from visloc_ros.core.map import Map
from visloc_ros.core.types import Frame
from visloc_ros.mapping.alignment.fit import MapFit

FAMILIES = {
    "16h5": cv2.aruco.DICT_APRILTAG_16h5,
    "25h9": cv2.aruco.DICT_APRILTAG_25h9,
    "36h10": cv2.aruco.DICT_APRILTAG_36h10,
    "36h11": cv2.aruco.DICT_APRILTAG_36h11,
}
_MAX_YAML_BYTES = 1 << 20
_LEAST_PARALLAX_DEG = 2.0  # between the views of a corner: with less its depth is a guess
_MOST_OFF = 0.5  # largest final error of corners, of a tag's size; more is another tag, or a wrong place

Locate = Callable[[Frame], SE3 | None]
"""``map_from_camera`` of a frame, None where it is not found."""


@dataclass(frozen=True, eq=False)
class TagPlaces:
    """Corners (4, 3) in metres of each tag by its number: top left, top right, bottom right, bottom left."""

    family: str
    corners: Mapping[int, Array]


def read_tags(path: Path) -> TagPlaces:
    """Read a YAML file of tags. Raises ConfigError.

    ``family`` (36h11), ``size`` (metres, the black square) and ``tags``: for each number ``x``, ``y``, ``z`` of its
    middle and ``yaw_deg``, the direction in which it faces; it hangs upright.
    """
    try:
        values = yaml.safe_load(read_text(path, ConfigError, _MAX_YAML_BYTES, "give a YAML file of tags"))
        family = str(values.get("family", "36h11"))
        size = float(values["size"])
        corners = {int(number): _corners(one, size) for number, one in values["tags"].items()}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a file of tags ({error}): give 'family', 'size' in metres, and 'tags' with x, y, z and "
            "yaw_deg for each number"
        ) from error
    if family not in FAMILIES:
        raise ConfigError(f"{path}: unknown tag family '{family}'; known: {', '.join(FAMILIES)}")
    if not corners or not all(np.isfinite(one).all() for one in corners.values()):
        raise ConfigError(f"{path} holds no tags, or numbers that are not finite")
    return TagPlaces(family, corners)


def align_to_tags(map_: Map, places: TagPlaces, frames: Iterable[Frame], locate: Locate) -> MapFit:
    """Move a map to the frame of the tags by frames that show them. Raises MapError where these do not determine it."""
    seen = _observed(places, frames, locate)
    found = {number: corners for number, views in seen.items() if (corners := _triangulated(views)) is not None}
    if not found:
        raise MapError(
            f"{len(seen)} of the {len(places.corners)} tags were seen, none from two places: film each of them from "
            "places a step apart, sharp, and where the map shows the surroundings"
        )
    source = np.concatenate([found[number] for number in sorted(found)])
    target = np.concatenate([places.corners[number] for number in sorted(found)])
    fit = umeyama(target, source)
    errors = np.linalg.norm(fit @ source - target, axis=1).reshape(-1, 4)
    worst = int(np.argmax(errors.max(axis=1)))
    if errors[worst].max() > _MOST_OFF * np.linalg.norm(target[0] - target[1]):
        raise MapError(
            f"tag {sorted(found)[worst]} is {errors[worst].max():.2f} m from where the file has it, by all of them: "
            "check its place and those of the others, their size, and which way they face"
        )
    residuals = {
        "tags": len(found),
        "rms_m": float(np.sqrt(np.mean(np.square(errors)))),
        "largest_m": float(errors.max()),
        "scale_of_the_map_before": 1.0 / fit.scale,
    }
    return MapFit(fit, "AprilTags", residuals, metric=True, gravity_aligned=True)


def _corners(place: Mapping[str, float], size: float) -> Array:
    facing = math.radians(float(place["yaw_deg"]))
    right = np.array([-math.sin(facing), math.cos(facing), 0.0])  # as seen by a viewer
    up, middle = np.array([0.0, 0.0, 1.0]), np.array([float(place[axis]) for axis in "xyz"])
    return np.array([middle + 0.5 * size * (a * right + b * up) for a, b in ((-1, 1), (1, 1), (1, -1), (-1, -1))])


@dataclass(frozen=True, eq=False)
class _TagView:
    """A camera's centre (3,), and directions (4, 3) to a tag's corners, in the map."""

    centre: Array
    directions: Array


def _observed(places: TagPlaces, frames: Iterable[Frame], locate: Locate) -> dict[int, list[_TagView]]:
    """Views of each tag, of the frames that are found in the map."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(FAMILIES[places.family]), parameters)
    seen: dict[int, list[_TagView]] = defaultdict(list)
    for frame in frames:
        corners, numbers, _ = detector.detectMarkers(frame.grey)
        known = [] if numbers is None else [i for i, one in enumerate(numbers.ravel()) if int(one) in places.corners]
        pose = locate(frame) if known else None
        if pose is None:
            continue
        for index in known:
            pixels = np.asarray(corners[index], np.float64).reshape(4, 2) + 0.5
            local = np.column_stack([rays(frame.camera, pixels), np.ones(4)])
            if not np.isfinite(local).all():  # seen beyond 90 degrees
                continue
            local /= np.linalg.norm(local, axis=1, keepdims=True)
            seen[int(numbers.ravel()[index])].append(_TagView(pose.translation, local @ pose.rotation.T))
    return seen


def _triangulated(views: list[_TagView]) -> Array | None:
    """Corners (4, 3) nearest to all rays; None without parallax."""
    corners = []
    for corner in range(4):
        directions = np.array([view.directions[corner] for view in views])
        centres = np.array([view.centre for view in views])
        parallax = np.degrees(np.arccos(np.clip((directions @ directions.T).min(), -1.0, 1.0)))
        if parallax < _LEAST_PARALLAX_DEG:
            return None
        across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        corners.append(np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, centres)))
    return np.array(corners)
