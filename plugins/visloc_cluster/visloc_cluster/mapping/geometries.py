"""Verified two-view geometries as arrays, and in COLMAP's database, from which structure from motion reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.execution.store import Artifact
from visloc_ros.mapping.pairs import Pair

_MATRICES = ("E", "F", "H")


def pack_matches(matches: Sequence[NDArray[np.int32]]) -> dict[str, NDArray[Any]]:
    """Matches of pairs, keypoint rows (K, 2) each, as one array, and how many each pair has."""
    return {
        "counts": np.array([len(one) for one in matches], np.int64),
        "matches": np.concatenate([np.empty((0, 2), np.int32), *matches]),
    }


def unpack_matches(packed: Artifact, places: Sequence[int]) -> list[NDArray[np.int32]]:
    """Keypoint rows (K, 2) of the pairs at these places."""
    ends = np.cumsum(packed["counts"])
    return [packed["matches"][ends[place] - packed["counts"][place] : ends[place]] for place in places]


def read_geometries(database: Path, pairs: Sequence[tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """The two-view geometries of pairs of image ids, one without inliers where there is none."""
    geometries = []
    with pycolmap.Database.open(database) as opened:
        for pair in pairs:
            there = opened.exists_two_view_geometry(*pair)
            geometries.append(opened.read_two_view_geometry(*pair) if there else pycolmap.TwoViewGeometry())
    poses = [geometry.cam2_from_cam1 for geometry in geometries]
    return {
        **pack_matches([np.array(one.inlier_matches, np.int32).reshape(-1, 2) for one in geometries]),
        "configs": np.array([int(geometry.config) for geometry in geometries], np.int64),
        "poses": np.array([_values(pose) for pose in poses], np.float64).reshape(-1, 7),
        "angles": np.array([geometry.tri_angle for geometry in geometries], np.float64),
        **{name: np.array([_matrix(one, name) for one in geometries]).reshape(-1, 3, 3) for name in _MATRICES},
    }


def write_geometries(database: Path, image_ids: Sequence[int], verified: Mapping[Pair, tuple[Artifact, int]]) -> None:
    """Write the geometries of pairs, keyed by places in ``image_ids``: each an artifact and its place there."""
    with pycolmap.Database.open(database) as opened, pycolmap.DatabaseTransaction(opened):
        for (i, j), (packed, place) in verified.items():
            [matches] = unpack_matches(packed, [place])
            opened.write_matches(image_ids[i], image_ids[j], matches.astype(np.uint32))
            opened.write_two_view_geometry(image_ids[i], image_ids[j], _geometry(packed, place, matches))


def _geometry(packed: Artifact, place: int, matches: NDArray[np.int32]) -> pycolmap.TwoViewGeometry:
    geometry = pycolmap.TwoViewGeometry(
        config=pycolmap.TwoViewGeometryConfiguration(int(packed["configs"][place])),
        inlier_matches=matches.astype(np.uint32),
        tri_angle=float(packed["angles"][place]),
    )
    for name in _MATRICES:
        if np.isfinite(packed[name][place]).all():
            setattr(geometry, name, packed[name][place])
    pose = packed["poses"][place]
    if np.isfinite(pose).all():
        geometry.cam2_from_cam1 = SE3.from_quaternion(pose[:4], pose[4:]).to_rigid3d()
    return geometry


def _matrix(geometry: pycolmap.TwoViewGeometry, name: str) -> NDArray[np.float64]:
    value = getattr(geometry, name)
    return np.full((3, 3), np.nan) if value is None else np.asarray(value)


def _values(pose: pycolmap.Rigid3d | None) -> list[float]:
    if pose is None:
        return [np.nan] * 7
    rigid = SE3.from_rigid3d(pose)
    return [*rigid.quaternion, *rigid.translation]
