"""What stock hloc and older COLMAP readers do with files, in a few lines of h5py, struct and pycolmap."""

import struct

import h5py
import numpy as np
import pycolmap


def list_names(path):
    """hloc's list_h5_names."""
    names = set()
    with h5py.File(path, "r", libver="latest") as file:
        file.visititems(
            lambda _, item: names.add(item.parent.name.strip("/")) if isinstance(item, h5py.Dataset) else None
        )
    return names


def read_pairs(path):
    """hloc's parse_retrieval: reference names by query name."""
    retrieval = {}
    for line in path.read_text().rstrip("\n").split("\n"):
        query, reference = line.split()
        retrieval.setdefault(query, []).append(reference)
    return retrieval


def read_queries(path):
    """hloc's parse_image_list with intrinsics."""
    queries = {}
    for line in path.read_text().splitlines():
        name, model, width, height, *params = line.split()
        queries[name] = pycolmap.Camera(
            model=model, width=int(width), height=int(height), params=np.array(params, float)
        )
    return queries


def read_images_binary(path):
    """The reader of COLMAP's Python scripts: number of keypoints and point ids by image name."""
    images = {}
    with path.open("rb") as file:
        (count,) = struct.unpack("<Q", file.read(8))
        for _ in range(count):
            file.read(4 + 7 * 8 + 4)
            name = b"".join(iter(lambda: file.read(1), b"\0")).decode()
            (size,) = struct.unpack("<Q", file.read(8))
            values = struct.unpack("<" + "ddq" * size, file.read(24 * size))
            images[name] = np.array(values[2::3])
        assert file.read() == b""
    return images


def localize(folder, queries, features, retrieval, match):
    """hloc's localize_sfm without its files of matches: ``match(query, reference)`` gives rows (K, 2)."""
    model = pycolmap.Reconstruction(folder / "sfm")
    by_name = {image.name: image for image in model.images.values()}
    poses = {}
    for name, camera in queries.items():
        with h5py.File(features, "r", libver="latest") as file:
            keypoints = file[name]["keypoints"].__array__() + 0.5
        pixels, points = [], []
        for reference in retrieval[name]:
            ids = np.array([p.point3D_id if p.has_point3D() else -1 for p in by_name[reference].points2D])
            for row, column in match(name, reference):
                if ids[column] != -1:
                    pixels.append(keypoints[row])
                    points.append(model.points3D[ids[column]].xyz)
        found = pycolmap.estimate_and_refine_absolute_pose(
            np.array(pixels), np.array(points), camera, {"ransac": {"max_error": 12.0}}
        )
        poses[name] = found["cam_from_world"] if found else None
    return poses
