"""Frames of a large build, whose features stay in the store until they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_cluster.mapping.matching import Place
from visloc_cluster.mapping.model import Model, reconstruction_of_views, refined_cameras
from visloc_cluster.mapping.shards import Shard, unpack_cameras, unpack_references
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.execution.store import Artifact, ArtifactStore
from visloc_ros.mapping.collection import with_unique_names
from visloc_ros.mapping.map_sources import MapCamera, MapSource
from visloc_ros.mapping.sfm_database import SfmImage

_OPEN_SHARDS = 4


class Shelf:
    """Shards of a store by their place; the last few stay open."""

    def __init__(self, store: ArtifactStore, keys: Sequence[str]) -> None:
        self.keys = keys
        self.open = lru_cache(maxsize=_OPEN_SHARDS)(lambda place: Shard(store.read(keys[place])))


@dataclass(frozen=True, eq=False)
class StoredFrame:
    """A map image of the source with this label, by the place of its shard and its row there (``AnyFrame``)."""

    source: str
    stamp_ns: int
    name: str
    camera: MapCamera
    map_from_camera: SE3 | None
    place: Place
    shelf: Shelf

    @property
    def features(self) -> LocalFeatures:
        """Its features, read from its shard."""
        return self.shelf.open(self.place[0]).features(self.place[1])

    @property
    def thumbnail(self) -> bytes:
        """Its thumbnail, as JPEG."""
        return self.shelf.open(self.place[0]).thumbnail(self.place[1])


@dataclass(frozen=True, eq=False)
class FrameTable:
    """All frames of a build, the global descriptor of each (M, G), and the cameras that they share.

    ``counts`` are the frames in each shard of each source. The descriptors lie in a temporary file.
    """

    frames: Sequence[StoredFrame]
    descriptors: NDArray[np.float32]
    counts: Sequence[Sequence[int]]

    @cached_property
    def cameras(self) -> list[MapCamera]:
        """Each camera once, in the order of the frames."""
        return list({id(frame.camera): frame.camera for frame in self.frames}.values())

    @cached_property
    def camera_numbers(self) -> list[int]:
        """The number of each frame's camera."""
        numbers = {id(camera): number for number, camera in enumerate(self.cameras)}
        return [numbers[id(frame.camera)] for frame in self.frames]

    @property
    def shards(self) -> Sequence[str]:
        """Keys of the shards, by their places."""
        return self.frames[0].shelf.keys

    @cached_property
    def places(self) -> list[Place]:
        """Where the features of each frame are."""
        return [frame.place for frame in self.frames]


def list_frames(
    store: ArtifactStore,
    sources: Sequence[MapSource],
    shards: Sequence[Sequence[str]],
    described: Sequence[Sequence[str]],
) -> FrameTable:
    """The frames of the sources, by the keys of each source's shards and of what these are described by."""
    shelf = Shelf(store, [key for keys in shards for key in keys])
    frames, counts, names, place = list[StoredFrame](), list[list[int]](), set[str](), 0
    with tempfile.TemporaryFile(prefix="visloc-") as file:
        for source, keys in zip(sources, described, strict=True):
            found: list[StoredFrame] = []
            counts.append([])
            for key in keys:
                packed = store.read(key)
                found += _frames_of(source, packed, place, shelf)
                file.write(packed["global"].astype(np.float32).tobytes())
                counts[-1].append(len(packed["names"]))
                place += 1
            frames += with_unique_names(found, source.label, names)
            names.update(frame.name for frame in frames)
        file.flush()
        length = file.tell() // np.dtype(np.float32).itemsize // max(1, len(frames))
        shape = (len(frames), length)
        vectors = np.memmap(file, np.float32, "r", shape=shape) if length else np.empty(shape, np.float32)
    return FrameTable(frames, vectors, counts)


def _frames_of(source: MapSource, packed: Artifact, place: int, shelf: Shelf) -> list[StoredFrame]:
    cameras = [source.cameras.find(one.intrinsics) for one in unpack_cameras(packed)]
    values = zip(packed["names"].tolist(), packed["stamps_ns"].tolist(), packed["cameras"].tolist(), strict=True)
    references = unpack_references(packed)
    return [
        StoredFrame(source.label, stamp_ns, name, cameras[camera], references[row], (place, row), shelf)
        for row, (name, stamp_ns, camera) in enumerate(values)
    ]


def full_reconstruction(model: Model, frames: Sequence[StoredFrame]) -> pycolmap.Reconstruction:
    """COLMAP's reconstruction of a model with all keypoints of its images; cameras are as the model refined them."""
    kinds = {number: frame.camera for number, frame in zip(model.cameras.tolist(), _own(model, frames), strict=True)}
    cameras = refined_cameras(model, kinds)
    views = [
        SfmImage(frame.name, frame.features.keypoints.copy(), cameras[number])
        for number, frame in zip(model.cameras.tolist(), _own(model, frames), strict=True)
    ]
    counts = np.bincount(model.seen_by, minlength=len(model.images))
    return reconstruction_of_views(model, views, np.split(model.keypoints, np.cumsum(counts)[:-1]))


def _own(model: Model, frames: Sequence[StoredFrame]) -> list[StoredFrame]:
    return [frames[row] for row in model.images.tolist()]
