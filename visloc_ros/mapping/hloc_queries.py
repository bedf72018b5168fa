"""The files that stock hloc needs for query images: features, a list with intrinsics, and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures, write_global_descriptors, write_local_features
from visloc_ros.core.hloc_layout import features_file_name
from visloc_ros.core.map import Map
from visloc_ros.core.map_layout import VLAD, global_file_name
from visloc_ros.core.types import Frame
from visloc_ros.features import LocalExtractor, Vlad

QUERY_FOLDER = "queries"
QUERY_LIST_NAME = "queries_with_intrinsics.txt"


def write_hloc_queries(
    map_: Map, folder: Path, queries: Iterable[Frame], extractor: LocalExtractor, top_k: int
) -> bool:
    """Write hloc's files for query frames into ``folder / "queries"``; returns whether there were any.

    Raises MapError where hloc could not separate the names.
    """
    features: dict[str, LocalFeatures] = {}
    lines = []
    for frame in queries:
        name = frame.name or str(frame.stamp_ns)
        features[name] = extractor.extract(frame.image)
        lines.append(intrinsics_line(name, frame.camera))
    if not features:
        return False
    check_names(features)
    target = folder / QUERY_FOLDER
    target.mkdir()
    write_local_features(target / features_file_name(extractor.info.name), features)
    (target / QUERY_LIST_NAME).write_text("".join(lines), encoding="utf-8")
    vectors, pairs = pair_by_vlad(map_, features, top_k)
    write_global_descriptors(target / global_file_name(VLAD), vectors)
    write_pairs(target / query_pairs_name(top_k), pairs)
    return True


def pair_by_vlad(
    map_: Map, queries: Mapping[str, LocalFeatures], top_k: int
) -> tuple[dict[str, NDArray[np.float32]], list[tuple[str, str]]]:
    """VLAD vectors of queries, and their pairs with the ``top_k`` most alike map images, best first."""
    vlad, references = _vlad_index(map_)
    vectors = {name: vlad.describe_features(features) for name, features in queries.items()}
    pairs = []
    for name, vector in vectors.items():
        best = np.argsort(-(references @ vector), kind="stable")[:top_k]
        pairs += [(name, map_.images[row].name) for row in best]
    return vectors, pairs


def check_names(names: Iterable[str]) -> None:
    """Refuse image names that hloc's lists cannot hold. Raises MapError."""
    for name in names:
        if name.split() != [name]:
            raise MapError(f"hloc separates names by blanks, so its lists cannot hold the image '{name}': rename it")


def query_pairs_name(top_k: int) -> str:
    """File name of query pairs, as hloc's pipelines would call it."""
    return f"pairs-queries-{VLAD}{top_k}.txt"


def write_pairs(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Write pairs of image names, one a line, as hloc reads them."""
    path.write_text("".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")


def intrinsics_line(name: str, camera: pycolmap.Camera) -> str:
    """A line of hloc's list of queries: name, camera model, width, height, parameters (COLMAP pixels)."""
    params = " ".join(repr(float(value)) for value in camera.params)
    return f"{name} {camera.model_name} {camera.width} {camera.height} {params}\n"


def _vlad_index(map_: Map) -> tuple[Vlad, NDArray[np.float32]]:
    if map_.vlad_centroids.size:
        return Vlad(map_.vlad_centroids), map_.global_descriptors
    vlad = Vlad.train(image.features.descriptors for image in map_.images)
    return vlad, np.stack([vlad.describe_features(image.features) for image in map_.images])
