"""Simulated walks whose images overlap little: few common points, weak places, and places that look alike."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from benchmarks.mapping.scenes import Scene
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.sfm_database import SfmImage

KINDS = ("corridor, sideways", "around a corner", "loop", "corridor, forward")
_WALL, _HIGH, _FAR = 2.0, 1.2, 9.0  # metres: from path to wall, half its height, and as far as points are seen
_POINTS_A_METRE = 200
_WRONG = 0.1


class WeakWalk:
    """A walk of random length, density and noise; ``seed`` fixes everything."""

    def __init__(self, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self.kind = KINDS[seed % len(KINDS)]
        self._count = int(rng.integers(40, 100))
        self._step = float(rng.choice([0.25, 0.4, 0.6, 0.8]))
        self._window = int(rng.choice([2, 3, 4]))
        self._kept = float(rng.choice([0.7, 0.5, 0.4, 0.3]))
        self._weak = {
            int(place): float(rng.choice([0.15, 0.25, 0.4])) for place in rng.integers(5, 35, rng.integers(3))
        }
        camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[450.0, 450.0, 320.0, 240.0])
        positions, yaws = self._path()
        self._poses = [_pose(*one) for one in zip(positions, yaws, strict=True)]
        points = self._walls(positions)
        most, noise = int(rng.choice([200, 300, 500])), float(rng.choice([0.5, 1.0, 1.5]))
        self._seen = [_see(camera, pose, points, most) for pose in self._poses]
        self._pixels = [pixels + rng.normal(0.0, noise, pixels.shape) for _, pixels in self._seen]
        self._matches: PairMatches = {pair: self._match(*pair) for pair in self._pairs()}
        for _ in range(int(rng.choice([0, 0, 0, 1, 3]))):
            self._look_alike(*sorted(rng.choice(self._count - 1, 2, replace=False).tolist()))
        self._camera = MapCamera(camera, calibrated=True)
        self.scene = self._make_scene(f"weak walk {seed}")

    def _path(self) -> tuple[Array, Array]:
        """Positions (N, 3) and yaws (N,) of the camera."""
        along = self._step * np.arange(self._count)
        zero, sway = np.zeros_like(along), 0.2 * np.sin(along)
        if self.kind == "loop":
            radius = self._count * self._step / (2.0 * np.pi)
            x, y = radius * np.cos(along / radius), radius * np.sin(along / radius)
            return np.column_stack([x, y, 0.1 * np.sin(3 * along / radius)]), along / radius + sway
        if self.kind == "around a corner":
            half = along[-1] / 2.0
            turn = np.clip((along - half) / (2.0 * self._step), 0.0, 1.0) * np.pi / 2.0
            corner = np.column_stack([np.minimum(along, half), np.maximum(along - half, 0.0), zero])
            return corner, turn + np.pi / 2 + sway
        yaws = sway + (0.0 if "forward" in self.kind else np.pi / 2)
        return np.column_stack([along, 0.1 * np.sin(along), zero]), yaws

    def _walls(self, positions: Array) -> Array:
        """Points (M, 3) on both sides of the path, and of its straight continuations."""
        reach = np.arange(1, int(_FAR / self._step) + 2)[:, None]
        before = positions[0] + reach[::-1] * (positions[0] - positions[1])
        after = positions[-1] + reach * (positions[-1] - positions[-2])
        line = np.concatenate([positions, positions[:1]] if self.kind == "loop" else [before, positions, after])
        at = self._rng.uniform(0.0, len(line) - 1.001, int(_POINTS_A_METRE * self._step * len(line)))
        low = at.astype(int)
        direction = line[low + 1] - line[low]
        side = np.column_stack([-direction[:, 1], direction[:, 0], np.zeros(len(at))])
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        away = self._rng.choice([-1.0, 1.0], len(at)) * (_WALL + 0.3 * self._rng.random(len(at)))
        points = line[low] + (at - low)[:, None] * direction + away[:, None] * side
        points[:, 2] = self._rng.uniform(-_HIGH, _HIGH, len(at))
        return np.asarray(points)

    def _pairs(self) -> list[tuple[int, int]]:
        count, window = self._count, self._window
        pairs = [(i, j) for i in range(count) for j in range(i + 1, min(count, i + 1 + window))]
        if self.kind == "loop":
            pairs += [(j, i) for i in range(count - window, count) for j in range(i + window - count + 1)]
        return pairs

    def _match(self, i: int, j: int) -> NDArray[np.int32]:
        """Keypoint rows (K, 2): some of the common points, fewer across a weak place, a tenth of them wrong."""
        _, in_i, in_j = np.intersect1d(self._seen[i][0], self._seen[j][0], return_indices=True)
        kept = self._kept * min([1.0, *(share for place, share in self._weak.items() if i < place <= j)])
        pairs = np.column_stack([in_i, in_j])[self._rng.random(len(in_i)) < kept].astype(np.int32)
        wrong = self._rng.permutation(len(pairs))[: int(_WRONG * len(pairs))]
        pairs[wrong, 1] = np.roll(pairs[wrong, 1], 1)
        return np.asarray(pairs, np.int32)

    def _look_alike(self, i: int, j: int) -> None:
        """Image ``j`` shows what the image after ``i`` does, as well."""
        copied = self._matches.get((i, i + 1), np.empty((0, 2), np.int32))
        if j - i > 2 * self._window and len(copied):
            rows = len(self._pixels[j]) + np.arange(len(copied))
            self._pixels[j] = np.concatenate([self._pixels[j], self._pixels[i + 1][copied[:, 1]]])
            self._matches[i, j] = np.column_stack([copied[:, 0], rows]).astype(np.int32)

    def _make_scene(self, name: str) -> Scene:
        views = [
            SfmImage(f"{row:04d}.jpg", pixels.astype(np.float32), self._camera)
            for row, pixels in enumerate(self._pixels)
        ]
        truth = {view.name: pose.translation for view, pose in zip(views, self._poses, strict=True)}
        return Scene(name, views, self._matches, truth)


def _pose(position: Array, yaw: float) -> SE3:
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.05 * np.sin(7.0 * yaw)])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return SE3(np.column_stack([right, np.cross(forward, right), forward]), position)


def _see(camera: pycolmap.Camera, pose: SE3, points: Array, most: int) -> tuple[NDArray[np.intp], Array]:
    """Rows of the first points that an image sees, the same in neighbouring ones, and their pixels."""
    in_camera = pose.inverse @ points
    pixels = project(camera, in_camera)
    inside = ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1)
    rows = np.flatnonzero(inside & (in_camera[:, 2] > 0.3) & (in_camera[:, 2] < _FAR))[:most]
    return rows, pixels[rows]
