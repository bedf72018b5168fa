"""Scale and axes of a map from reference poses, or its scale from one known distance.

Structure from motion leaves a similarity open. Each function here gives ``map_from_sfm``, the similarity
that closes part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3, mean_rotation, rotation_angle_deg

_MIN_REFERENCES = 3
_MAX_ROTATION_SPREAD_DEG = 20.0


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
