"""Shards: the features of some consecutive map images as one artifact, and how single images are read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.execution.store import Artifact
from visloc_ros.mapping.collection import MapFrame
from visloc_ros.mapping.map_sources import MapCamera

CONTENTS = (
    "names", "stamps_ns", "counts", "references", "cameras", "camera_models", "camera_numbers", "calibrated",
)  # fmt: skip
"""The small arrays of a shard, which say what it holds."""


def pack_frames(frames: Sequence[MapFrame], descriptor_dim: int) -> dict[str, NDArray[Any]]:
    """One artifact of the frames; everything of one kind is a single array, an image after the other."""
    features = [frame.features for frame in frames]
    cameras = list({id(frame.camera): frame.camera for frame in frames}.values())
    rows = {id(camera): row for row, camera in enumerate(cameras)}
    thumbnails = [np.frombuffer(frame.thumbnail, np.uint8) for frame in frames]
    packed: dict[str, NDArray[Any]] = {
        "names": np.array([frame.name for frame in frames], dtype=np.str_),
        "stamps_ns": np.array([frame.stamp_ns for frame in frames], np.int64),
        "counts": np.array([len(one) for one in features], np.int64),
        "references": np.array([_pose_values(frame.map_from_camera) for frame in frames]).reshape(-1, 7),
        "cameras": np.array([rows[id(frame.camera)] for frame in frames], np.int64),
        "keypoints": np.concatenate([np.empty((0, 2), np.float32), *(one.keypoints for one in features)]),
        "scores": np.concatenate([np.empty(0, np.float32), *(one.scores for one in features)]),
        "descriptors": np.concatenate(
            [np.empty((0, descriptor_dim), np.float16), *(one.descriptors.astype(np.float16) for one in features)]
        ),
        "image_sizes": np.array([one.image_size for one in features], np.int64).reshape(-1, 2),
        "thumbnails": np.concatenate([np.empty(0, np.uint8), *thumbnails]),
        "thumbnail_sizes": np.array([len(one) for one in thumbnails], np.int64),
        **pack_cameras(cameras),
    }
    if frames and features[0].scales_angles is not None:
        packed["scales_angles"] = np.concatenate([np.asarray(one.scales_angles) for one in features])
    if frames and frames[0].global_descriptor is not None:
        packed["global"] = np.stack([np.asarray(frame.global_descriptor) for frame in frames])
    return packed


def pack_cameras(cameras: Sequence[MapCamera]) -> dict[str, NDArray[Any]]:
    """Cameras as arrays: models' names, and width, height and parameters in rows, padded by NaN."""
    numbers = [[one.intrinsics.width, one.intrinsics.height, *one.intrinsics.params] for one in cameras]
    widest = max(map(len, numbers), default=0)
    return {
        "camera_models": np.array([one.intrinsics.model_name for one in cameras], dtype=np.str_),
        "camera_numbers": np.array([row + [np.nan] * (widest - len(row)) for row in numbers]).reshape(-1, widest),
        "calibrated": np.array([one.calibrated for one in cameras], bool),
    }


def unpack_cameras(packed: Artifact) -> list[MapCamera]:
    """The cameras of ``pack_cameras``, each one object."""
    cameras = []
    for model, numbers, calibrated in zip(
        packed["camera_models"], packed["camera_numbers"], packed["calibrated"], strict=True
    ):
        width, height, *params = numbers[np.isfinite(numbers)]
        camera = pycolmap.Camera(model=str(model), width=int(width), height=int(height), params=params)
        cameras.append(MapCamera(camera, bool(calibrated)))
    return cameras


def unpack_references(packed: Artifact) -> list[SE3 | None]:
    """Reference poses ``map_from_camera`` of a shard's images."""
    return [SE3.from_quaternion(one[:4], one[4:]) if np.isfinite(one[0]) else None for one in packed["references"]]


@dataclass(frozen=True, eq=False)
class Shard:
    """The images of a shard by their rows."""

    arrays: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["names"])

    def features(self, row: int) -> LocalFeatures:
        """Features of one image, descriptors in half precision; the same object again, by which matchers know it."""
        if row not in self._known:
            self._known[row] = self._read(row)
        return self._known[row]

    def _read(self, row: int) -> LocalFeatures:
        own = slice(self._starts[row], self._starts[row + 1])
        width, height = self.arrays["image_sizes"][row]
        scales = self.arrays.get("scales_angles")
        keypoints, scores, descriptors = (self.arrays[name][own] for name in ("keypoints", "scores", "descriptors"))
        return LocalFeatures(
            keypoints, scores, descriptors, (int(width), int(height)), None if scales is None else scales[own]
        )

    def thumbnail(self, row: int) -> bytes:
        """JPEG bytes of one image's thumbnail."""
        ends = np.cumsum(self.arrays["thumbnail_sizes"])
        return self.arrays["thumbnails"][ends[row] - self.arrays["thumbnail_sizes"][row] : ends[row]].tobytes()

    @cached_property
    def cameras(self) -> list[MapCamera]:
        """The camera of each image; images of one camera share the object."""
        every = unpack_cameras(self.arrays)
        return [every[row] for row in self.arrays["cameras"]]

    @cached_property
    def _known(self) -> dict[int, LocalFeatures]:
        return {}

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.arrays["counts"])])


def _pose_values(pose: SE3 | None) -> list[float]:
    return [np.nan] * 7 if pose is None else [*pose.quaternion, *pose.translation]
