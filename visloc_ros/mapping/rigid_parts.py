"""Parts of a model that the verified matches between its images hold together.

Global mapping solves for all images at once. Where few matches join two groups of them it may turn, shift or scale one
against the other: the points that contradict this are filtered out, so that the reprojection errors remain small.
Incremental mapping may register an image by a few wrong points, and further ones by its own. The matches still show it:
a point that one image of a matched pair sees must project into the other one near the keypoint that it is matched with;
the model then explains the match, or else contradicts it.

Two groups of images are held together where the model explains more matches between them than it contradicts, as many
as incremental mapping demands before it registers an image (Schoenberger and Frahm, CVPR 2016); in a global model, in
two pairs: one pair alone has no witness, and may show two places that look alike. Incremental mapping registers an
image by points that others have triangulated. The groups compared are those on either side of each edge of the maximum
spanning tree of the view graph, weighted by explained matches: where a film hangs together badly, the tree has an edge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array, umeyama

_MIN_SHAPE = 4
_MIN_EXPLAINED = 30  # COLMAP's own limit of an image that is registered: abs_pose_min_num_inliers
_TOLERANCE_FACTOR = 2.0  # of the error that a point may have where it is seen: the point is not fitted to this keypoint

_Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PairEvidence:
    """Matches between ``images`` (ids): of pairs (P, 2) of their rows, how many a model explains and contradicts."""

    images: NDArray[np.int64]
    pairs: _Rows
    explained: NDArray[np.int64]
    contradicted: NDArray[np.int64]

    def rigid_parts(self, least_pairs: int) -> list[list[int]]:
        """Ids of the images that hold together by so many pairs, the largest group first; every image is in one."""
        done: list[_Rows] = []
        open_parts = [np.arange(len(self.images))]
        while open_parts:
            part = open_parts.pop()
            pieces = self._pieces(part, least_pairs)
            (done if len(pieces) == 1 else open_parts).extend(pieces)
        return [self.images[part].tolist() for part in sorted(done, key=len, reverse=True)]

    def held_with(self, known: Collection[int]) -> set[int]:
        """Ids of the images that a pair holds together with ``known`` ones (ids), which count as held together."""
        is_known = np.isin(self.images, list(known))
        first = int(np.argmax(is_known))
        pairs = np.where(is_known, first, np.arange(len(self.images)))[self.pairs]
        apart = pairs[:, 0] != pairs[:, 1]
        joined = PairEvidence(self.images, pairs[apart], self.explained[apart], self.contradicted[apart])
        return {*known, *next(part for part in joined.rigid_parts(1) if self.images[first] in part)}

    def _pieces(self, part: _Rows, least_pairs: int) -> list[_Rows]:
        """What remains of a part without the edges of its spanning tree that hold too little."""
        row_of = np.full(len(self.images), -1)
        row_of[part] = np.arange(len(part))
        inside = (row_of[self.pairs] >= 0).all(axis=1)
        ends, explained, contradicted = row_of[self.pairs[inside]], self.explained[inside], self.contradicted[inside]
        edges = _spanning_tree(ends[explained > 0], explained[explained > 0], len(part))
        balance = np.zeros(len(edges), dtype=np.int64)
        enough = np.ones(len(edges), dtype=bool)
        for row, edge in enumerate(edges):
            side = _labels(np.delete(edges, row, axis=0), len(part))
            across = (side[ends] == side[edge[0]]).sum(axis=1) == 1
            balance[row] = explained[across].sum() - contradicted[across].sum()
            enough[row] = _is_enough(explained[across], least_pairs)
        # What contradicts the worst place contradicts those around it, too: that one is cut first.
        firm = enough & (balance > min(0, balance.min(initial=0)))
        labels = _labels(edges[firm], len(part))
        return [part[labels == label] for label in np.unique(labels)]


def weigh_pairs(model: pycolmap.Reconstruction, database: Path, max_reprojection_error_px: float) -> PairEvidence:
    """Weigh the verified matches of a database, whose image ids are the model's, between the model's images."""
    images = np.array(sorted(model.reg_image_ids()), dtype=np.int64)
    row_of = {int(image_id): row for row, image_id in enumerate(images)}
    view_of = cache(partial(_View.of, model))
    pairs, counts = [], []
    for i, j, matches in _verified(database):
        if i in row_of and j in row_of:
            one, other = view_of(i), view_of(j)
            errors = [one.errors_in(other, matches), other.errors_in(one, matches[:, ::-1])]
            known = np.isfinite(errors).any(axis=0)
            near = np.fmin(*errors) <= _TOLERANCE_FACTOR * max_reprojection_error_px
            pairs.append((row_of[i], row_of[j]))
            counts.append((int(near.sum()), int((known & ~near).sum())))
    columns = np.array(counts, dtype=np.int64).reshape(-1, 2)
    return PairEvidence(images, np.array(pairs, dtype=np.intp).reshape(-1, 2), columns[:, 0], columns[:, 1])


def only_images(model: pycolmap.Reconstruction, image_ids: Collection[int]) -> pycolmap.Reconstruction:
    """A copy of a model in which only these images are registered, with the points that they see."""
    part = pycolmap.Reconstruction(model)
    for image_id in set(part.reg_image_ids()) - set(image_ids):
        part.deregister_frame(part.images[image_id].frame_id)
    return part


def shape_difference(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction) -> float:
    """How far the images in both models (by ids) are apart after the best similarity, as a share of their spread.

    Both are root mean squares. Zero for fewer than four images, which have little shape.
    """
    shared = sorted(set(a.reg_image_ids()) & set(b.reg_image_ids()))
    if len(shared) < _MIN_SHAPE:
        return 0.0
    in_a, in_b = (np.array([model.images[one].projection_center() for one in shared]) for model in (a, b))
    apart = umeyama(in_a, in_b) @ in_b - in_a
    return float(np.linalg.norm(apart) / np.linalg.norm(in_a - in_a.mean(axis=0)))


@dataclass(frozen=True, eq=False)
class _View:
    """An image: its keypoints (N, 2), and the points (N, 3) that they see, NaN where they see none."""

    camera: pycolmap.Camera
    camera_from_map: SE3
    keypoints: Array
    points: Array

    @classmethod
    def of(cls, model: pycolmap.Reconstruction, image_id: int) -> _View:
        image = model.images[image_id]
        points = np.full((image.num_points2D(), 3), np.nan)
        for row in image.get_observation_point2D_idxs():
            points[row] = model.points3D[image.point2D(row).point3D_id].xyz
        keypoints = np.array([point.xy for point in image.points2D]).reshape(-1, 2)
        camera = model.cameras[image.camera_id]
        return cls(camera, SE3.from_rigid3d(image.cam_from_world()), keypoints, points)

    def errors_in(self, other: _View, matches: NDArray[np.uint32]) -> Array:
        """Distances (K,) in pixels of this image's points from the other one's keypoints: NaN without a point.

        They are huge where the other image cannot see the point.
        """
        in_other = other.camera_from_map @ self.points[matches[:, 0]]
        errors = np.linalg.norm(project(other.camera, in_other) - other.keypoints[matches[:, 1]], axis=1)
        has_point = np.isfinite(in_other).all(axis=1)
        return np.where(has_point, np.nan_to_num(errors, nan=1e9, posinf=1e9), np.nan)


def _verified(database: Path) -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
    """Ids of the images of every verified pair, and its matches (K, 2) of their keypoints."""
    with pycolmap.Database.open(database) as opened:
        pair_ids, geometries = opened.read_two_view_geometries()
    for pair_id, geometry in zip(pair_ids, geometries, strict=True):
        if len(geometry.inlier_matches):
            yield *pycolmap.pair_id_to_image_pair(pair_id), geometry.inlier_matches


def _is_enough(explained: NDArray[np.int64], least_pairs: int) -> bool:
    """Whether these matches of pairs (P,) can hold two groups of images together."""
    witnesses = np.count_nonzero(explained >= _MIN_EXPLAINED / least_pairs)
    return bool(explained.sum() >= _MIN_EXPLAINED and witnesses >= least_pairs)


def _spanning_tree(ends: _Rows, weights: NDArray[np.int64], count: int) -> _Rows:
    """Edges (E, 2) of the maximum spanning tree, or forest, of nodes joined by weighted edges."""
    tree = minimum_spanning_tree(_matrix(ends, -weights.astype(np.float64), count)).tocoo()
    return np.column_stack([tree.row, tree.col]).astype(np.intp)


def _labels(edges: _Rows, count: int) -> NDArray[np.int32]:
    """Numbers (N,) of the connected components of nodes joined by edges (E, 2)."""
    return np.asarray(connected_components(_matrix(edges, np.ones(len(edges)), count), directed=False)[1])


def _matrix(ends: _Rows, weights: Array, count: int) -> coo_matrix:
    return coo_matrix((weights, (ends[:, 0], ends[:, 1])), shape=(count, count))
