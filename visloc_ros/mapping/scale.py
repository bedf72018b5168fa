"""Scale and axes of a map: from reference poses, from one known distance, from gravity as the images show it.

Structure from motion leaves a similarity open (SPEC H-63). Each function here gives ``map_from_sfm``, the similarity
that closes part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3, mean_rotation, rotation_angle_deg

_MIN_REFERENCES = 3
_MAX_ROTATION_SPREAD_DEG = 20.0
_MIN_DOWN_AGREEMENT = 0.7
_MIN_TURN = 0.2


def transform(reconstruction: pycolmap.Reconstruction, map_from_sfm: Sim3) -> None:
    """Move a reconstruction, in place, to the frame of the map."""
    rotation = pycolmap.Rotation3d(map_from_sfm.rotation)
    reconstruction.transform(pycolmap.Sim3d(map_from_sfm.scale, rotation, map_from_sfm.translation))


def align_to_references(sfm_from_cameras: Mapping[str, SE3], map_from_cameras: Mapping[str, SE3]) -> Sim3:
    """Similarity ``map_from_sfm`` from images whose poses are known in both frames.

    The rotation is the mean over the images' orientations, so that a straight path is no problem; scale and
    translation come from the centres. Raises MapError with fewer than three common images, without any motion
    between them, or when their orientations contradict each other.
    """
    names = [name for name in sfm_from_cameras if name in map_from_cameras]
    if len(names) < _MIN_REFERENCES:
        raise MapError(
            f"{len(names)} map images have a reference pose, {_MIN_REFERENCES} are needed: check that the stamps of "
            "the reference poses are those of the images"
        )
    sfm = [sfm_from_cameras[name] for name in names]
    known = [map_from_cameras[name] for name in names]
    rotation = _agreed_rotation(sfm, known)
    return _fit_scale(rotation, _centres(sfm), _centres(known))


def scale_to_distance(sfm_from_cameras: Mapping[str, SE3], distance: float, begin: str = "", end: str = "") -> Sim3:
    """Similarity that makes the distance between two cameras' centres ``distance`` metres.

    An empty ``begin`` is the first image, an empty ``end`` the last. Raises MapError when an image is not in the
    map or the two centres coincide.
    """
    names = list(sfm_from_cameras)
    ends = (begin or names[0], end or names[-1])
    for name in ends:
        if name not in sfm_from_cameras:
            raise MapError(
                f"the distance is given from or to '{name}', which is not among the registered images "
                f"('{names[0]}' ... '{names[-1]}'): name one of them"
            )
    first, last = (sfm_from_cameras[name].translation for name in ends)
    measured = float(np.linalg.norm(last - first))
    extent = float(np.ptp(_centres(list(sfm_from_cameras.values())), axis=0).max())
    if measured <= 1e-3 * extent or extent == 0.0:
        raise MapError(f"the cameras of '{ends[0]}' and '{ends[1]}' are at the same place: name two that are apart")
    return Sim3(distance / measured, np.eye(3), np.zeros(3))


class Up(NamedTuple):
    """Unit vector (3,) that points up, and whether it can be relied on (to some 6 degrees)."""

    direction: Array
    reliable: bool


def level(sfm_from_cameras: Mapping[str, SE3], up: Array) -> Sim3:
    """Rotation that turns ``up`` to +z and puts the first camera at the origin, looking along +x."""
    first = next(iter(sfm_from_cameras.values()))
    rotation = level_rotation(up, first.rotation[:, 2])
    return Sim3(1.0, rotation, -rotation @ first.translation)


def find_up(sfm_from_cameras: Sequence[SE3]) -> Up | None:
    """Where up is, in the frame of the poses, if the camera is held without roll. None when it rolls over.

    Up is perpendicular to the images' horizontal axes, once the camera has turned enough for these to differ: 2 to
    6 degrees off on redkitchen and EuRoC. Else the mean of the images' up axes is taken, which is off by the mean
    pitch (20 to 30 degrees there), and therefore not reliable.
    """
    rotations = np.array([pose.rotation for pose in sfm_from_cameras])
    mean_down = rotations[:, :, 1].mean(axis=0)
    if np.linalg.norm(mean_down) < _MIN_DOWN_AGREEMENT:
        return None
    _, singular, axes = np.linalg.svd(rotations[:, :, 0], full_matrices=True)
    has_turned = len(singular) == 3 and singular[1] > _MIN_TURN * singular[0]
    down = axes[2] * np.sign(axes[2] @ mean_down) if has_turned else mean_down
    return Up(np.asarray(-down / np.linalg.norm(down)), bool(has_turned))


def level_rotation(up: Array, viewing: Array) -> Array:
    """Rotation (3, 3) that turns the unit vector ``up`` to +z, and ``viewing`` to the half plane of +x."""
    forward = viewing - (viewing @ up) * up
    if np.linalg.norm(forward) < 1e-6:
        forward = np.eye(3)[np.argmin(np.abs(up))]
        forward = forward - (forward @ up) * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([forward, np.cross(up, forward), up])


def _agreed_rotation(sfm: Sequence[SE3], known: Sequence[SE3]) -> Array:
    rotations = [b.rotation @ a.rotation.T for a, b in zip(sfm, known, strict=True)]
    mean = mean_rotation(rotations)
    spread = float(np.median([rotation_angle_deg(mean, rotation) for rotation in rotations]))
    if spread > _MAX_ROTATION_SPREAD_DEG:
        raise MapError(
            f"the reference poses turn differently than the camera did (by {spread:.0f} deg): check that they are "
            "poses of the camera (z forward), not of another body, and that their stamps fit"
        )
    return mean


def _fit_scale(rotation: Array, sfm: Array, known: Array) -> Sim3:
    turned = (sfm - sfm.mean(axis=0)) @ rotation.T
    target = known - known.mean(axis=0)
    scale = float(np.sum(turned * target)) / max(float(np.sum(np.square(turned))), 1e-300)
    if not np.isfinite(scale) or scale <= 0 or np.linalg.norm(target) == 0:
        raise MapError("the reference poses do not move with the images: scale cannot be found from them")
    return Sim3(scale, rotation, known.mean(axis=0) - scale * rotation @ sfm.mean(axis=0))


def _centres(poses: Sequence[SE3]) -> Array:
    return np.array([pose.translation for pose in poses]).reshape(-1, 3)
