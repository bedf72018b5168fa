"""Parts of the map of the simulated room, each as a map of its own in a frame of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.map import NO_POINT, Map, MapImage, open_map, save_map
from visloc_ros.core.types import Frame
from visloc_ros.features import Vlad
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.scale import transform

ROOM = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
NOISE_M, NOISE_RAD = 0.005, 0.002  # of a map that was made apart from the other


def part_of_room(rows, name) -> Map:
    """The images of these rows, and the points that two of them or more see."""
    room = open_map(ROOM)
    images = [room.images[row] for row in rows]
    counts = np.zeros(len(room.points) + 1, int)
    for image in images:
        counts[image.point_rows] += 1
    counts[NO_POINT] = 0
    kept = counts >= 2
    new_rows = np.where(kept, np.cumsum(kept) - 1, NO_POINT).astype(np.int32)
    thinned = tuple(_with_points(image, new_rows[image.point_rows]) for image in images)
    descriptors = room.global_descriptors[list(rows)]
    manifest = replace(room.manifest, name=name, created_from=name, uncertainty=None)
    return replace(
        room,
        name=name,
        images=thinned,
        points=room.points[kept[:-1]],
        manifest=manifest,
        global_descriptors=descriptors,
    )


def _with_points(image: MapImage, point_rows) -> MapImage:
    kept = np.flatnonzero(point_rows != NO_POINT)
    return replace(image, features=image.features.take(kept), point_rows=point_rows[kept])


def disturbed(map_: Map, seed=0) -> Map:
    """The map with errors of its own."""
    rng = np.random.default_rng(seed)

    def moved(pose):
        turn = rotation_matrix(rng.normal(0.0, NOISE_RAD, 3))
        return SE3(pose.rotation @ turn, pose.translation + rng.normal(0.0, NOISE_M, 3))

    images = tuple(replace(image, map_from_camera=moved(image.map_from_camera)) for image in map_.images)
    return replace(map_, images=images, points=map_.points + rng.normal(0.0, NOISE_M, map_.points.shape))


def saved(map_: Map, path, frame_from_map: Sim3 | None = None, **says) -> Path:
    """Write a map in another frame; ``says`` is what its manifest says otherwise."""
    reconstruction = reconstruction_of(map_)
    if frame_from_map is not None:
        transform(reconstruction, frame_from_map)
    vlad = Vlad.train(image.features.descriptors for image in map_.images)
    features = {image.name: image.features for image in map_.images}
    vectors = {name: vlad.describe_features(one) for name, one in features.items()}
    manifest = replace(map_.manifest, models={**map_.manifest.models, "global": vlad.info}, **says)
    save_map(path, reconstruction, features, vectors, vlad.centroids, manifest)
    if map_.thumbnails:
        (path / "thumbnails").mkdir()
        for name, picture in map_.thumbnails.items():
            (path / "thumbnails" / name).write_bytes(picture)
    return path


def frame_of(image: MapImage) -> Frame:
    """An image of a map to be searched by its features."""
    return Frame(0, np.zeros((image.camera.height, image.camera.width), np.uint8), image.camera, image.name)
