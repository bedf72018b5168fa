"""Large maps for measuring how the engine scales: a real map, and copies of it in other places that look different.

The first tile is the real map, so that real queries are found in it. Every other tile has the same geometry somewhere
else, and descriptors turned by a random rotation: as many, as long and as alike as real ones, but of another place.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import (
    LocalFeatures,
    write_centroids,
    write_global_descriptors,
    write_local_features,
)
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import file_info, write_manifest
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.map_layout import own_layout
from visloc_ros.core.map_writer import staged_folder
from visloc_ros.features import Vlad

TILE_DISTANCE = 50.0  # map units from one tile to the next
TILES_PER_ROW = 32


@dataclass(frozen=True, eq=False)
class Tile:
    """One copy of a map image: its name, pose and features, its camera, and the rows of its points in the large map."""

    name: str
    map_from_camera: SE3
    features: LocalFeatures
    point_rows: np.ndarray


def write_tiled_map(path: Path, map_: Map, num_images: int) -> None:
    """Write a map of ``num_images`` images made of whole and partial copies of ``map_``, with its first camera.

    Raises MapError where the map has no VLAD codebook.
    """
    with staged_folder(path) as folder:
        layout = own_layout(folder, map_.manifest)
        if layout.centroids is None or map_.vlad_centroids is None:
            raise MapError(f"the map '{map_.name}' has no VLAD codebook to describe copies with")
        layout.model.mkdir()
        tiles = list(make_tiles(map_, num_images))
        copies = -(-num_images // len(map_.images))
        write_local_features(layout.features, {tile.name: tile.features for tile in tiles})
        vlad = Vlad(map_.vlad_centroids)
        write_global_descriptors(layout.global_descriptors, dict(describe(map_, tiles, vlad)))
        write_centroids(layout.centroids, map_.vlad_centroids)
        write_model(layout.model, map_, tiles, copies)
        files = [*sorted(layout.model.iterdir()), layout.features, layout.global_descriptors, layout.centroids]
        infos = {file.relative_to(folder).as_posix(): file_info(file) for file in files}
        write_manifest(folder, replace(map_.manifest, name=path.name, files=infos))


def make_tiles(map_: Map, num_images: int) -> Iterator[Tile]:
    """The images of the large map, one copy of the map after the other."""
    rng = np.random.default_rng(0)
    turn = np.eye(map_.images[0].features.descriptors.shape[1], dtype=np.float32)
    shift = np.zeros(3)
    for index in range(num_images):
        copy, row = divmod(index, len(map_.images))
        if copy and row == 0:
            turn = np.linalg.qr(rng.normal(size=turn.shape))[0].astype(np.float32)
            shift = shift_of(copy)
        yield make_tile(map_.images[row], f"{copy:04d}/{map_.images[row].name}", turn, shift, copy * len(map_.points))


def make_tile(image: MapImage, name: str, turn: np.ndarray, shift: np.ndarray, first_point: int) -> Tile:
    """One image of one copy."""
    descriptors = np.asarray(image.features.descriptors, np.float32) @ turn
    rows = np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + first_point)
    pose = SE3(image.map_from_camera.rotation, image.map_from_camera.translation + shift)
    return Tile(name, pose, replace(image.features, descriptors=descriptors.astype(np.float16)), rows)


def describe(map_: Map, tiles: list[Tile], vlad: Vlad) -> Iterator[tuple[str, np.ndarray]]:
    """Global descriptors by name: the map's own ones for the first tile, new ones for the others."""
    for index, tile in enumerate(tiles):
        known = index < len(map_.images)
        yield tile.name, map_.global_descriptors[index] if known else vlad.describe_features(tile.features)


def write_model(folder: Path, map_: Map, tiles: list[Tile], copies: int) -> None:
    """COLMAP's three files."""
    camera = map_.images[0].camera
    header = struct.pack("<QIi2Q", 1, 1, int(camera.model.value), camera.width, camera.height)
    (folder / "cameras.bin").write_bytes(header + np.asarray(camera.params, "<f8").tobytes())
    images = [image_record(index + 1, tile) for index, tile in enumerate(tiles)]
    (folder / "images.bin").write_bytes(struct.pack("<Q", len(images)) + b"".join(images))
    points = [points_records(map_, copy, len(tiles)) for copy in range(copies)]
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", copies * len(map_.points)) + b"".join(points))


def image_record(image_id: int, tile: Tile) -> bytes:
    """One entry of images.bin."""
    pose = tile.map_from_camera.inverse
    points = np.zeros(len(tile.features), np.dtype([("xy", "<f8", 2), ("point_id", "<i8")]))
    points["xy"], points["point_id"] = tile.features.keypoints, tile.point_rows
    head = struct.pack("<I7dI", image_id, *pose.quaternion, *pose.translation, 1) + tile.name.encode() + b"\0"
    return head + struct.pack("<Q", len(points)) + points.tobytes()


def points_records(map_: Map, copy: int, num_images: int) -> bytes:
    """The entries of points3D.bin for one copy, each with its track in the images that the large map has."""
    first_image = copy * len(map_.images)
    offsets, observations = tracks(map_.images[: num_images - first_image], len(map_.points))
    observations["image_id"] += first_image
    points = map_.points + shift_of(copy)
    records = []
    for row, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
        head = struct.pack("<Q3d3BdQ", copy * len(points) + row, *points[row], 0, 0, 0, 1.0, end - begin)
        records += [head, observations[begin:end].tobytes()]
    return b"".join(records)


def tracks(images: Sequence[MapImage], num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Which keypoints of the images see each point: where its observations begin, and all observations."""
    seen = [np.flatnonzero(image.point_rows != NO_POINT) for image in images]
    rows = np.concatenate([image.point_rows[places] for image, places in zip(images, seen, strict=True)])
    observations = np.zeros(len(rows), np.dtype([("image_id", "<u4"), ("keypoint", "<u4")]))
    observations["image_id"] = np.repeat(np.arange(len(seen)) + 1, [len(places) for places in seen])
    observations["keypoint"] = np.concatenate(seen)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=num_points))))
    return offsets, observations[np.argsort(rows, kind="stable")]


def shift_of(copy: int) -> np.ndarray:
    """Where a copy lies: side by side on a grid."""
    return TILE_DISTANCE * np.array([copy % TILES_PER_ROW, copy // TILES_PER_ROW, 0.0])
