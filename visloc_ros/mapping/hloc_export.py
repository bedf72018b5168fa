"""A map as the files that stock hloc and COLMAP read: ``feats-*.h5``, ``global-feats-*.h5``, ``sfm/``, pairs."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
import pycolmap
from scipy.sparse import csr_matrix

from visloc_ros.core.colmap_model import write_model
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.feature_files import write_centroids, write_global_descriptors, write_local_features
from visloc_ros.core.geometry import Array
from visloc_ros.core.hloc_layout import HLOC, features_file_name
from visloc_ros.core.manifest import MODEL_FOLDER
from visloc_ros.core.map import NO_POINT, Map, find_files, open_map
from visloc_ros.core.map_archive import map_folder
from visloc_ros.core.map_layout import CENTROIDS_NAME, global_file_name
from visloc_ros.core.map_writer import staged_folder
from visloc_ros.core.types import Frame
from visloc_ros.features import LocalExtractor
from visloc_ros.mapping.hloc_queries import (
    QUERY_LIST_NAME,
    check_names,
    query_pairs_name,
    write_hloc_queries,
    write_pairs,
)
from visloc_ros.mapping.pairs import Rows, RowScores, best_pairs

README_NAME = "README.txt"
_COVISIBLE = 20


def export_hloc(
    map_path: Path,
    output: Path,
    queries: Iterable[Frame] = (),
    extractor: LocalExtractor | None = None,
    top_k: int = 10,
) -> None:
    """Write a map (folder or ``reference.tar.gz``) to the new folder ``output`` in the layout of stock hloc.

    ``queries``, described by ``extractor``, come with it: their features, their list with intrinsics, and the pairs
    with the ``top_k`` map images most alike by VLAD, a descriptor that hloc itself does not compute. Raises MapError
    on a broken map, OutputError when ``output`` is taken or not writable.
    """
    _refuse_taken(output)
    with map_folder(map_path) as source, staged_folder(output) as folder:
        map_ = open_map(source, whole=True)
        write_hloc_map(map_, folder)
        model = pycolmap.Reconstruction(find_files(source, checksums=False)[0].model)
        write_model(folder / MODEL_FOLDER, model)
        has_queries = extractor is not None and write_hloc_queries(map_, folder, queries, extractor, top_k)
        text = _readme(map_, output.resolve().name, has_queries, top_k)
        (folder / README_NAME).write_text(text, encoding="utf-8")


def write_hloc_map(map_: Map, folder: Path) -> None:
    """Write the features, global descriptors and covisible pairs of a map into an existing folder."""
    features = {image.name: image.features for image in map_.images}
    names = list(features)
    check_names(names)
    write_local_features(folder / features_file_name(model_name(map_, "extractor")), features)
    if len(map_.global_descriptors):
        path = folder / global_file_name(model_name(map_, "global"))
        write_global_descriptors(path, dict(zip(names, map_.global_descriptors, strict=True)))
    if map_.vlad_centroids.size:
        write_centroids(folder / CENTROIDS_NAME, map_.vlad_centroids)
    pairs = best_pairs(shared_points(map_), len(names), _COVISIBLE)
    write_pairs(folder / f"pairs-db-covis{_COVISIBLE}.txt", [(names[i], names[j]) for i, j in pairs])


def model_name(map_: Map, role: str) -> str:
    """Name of the model in a role ("extractor", "global") of a map. Raises MapError where the map does not say."""
    if role not in map_.manifest.models:
        raise MapError(f"the map '{map_.name}' does not say which model was its {role}: build it again")
    return map_.manifest.models[role].name


def shared_points(map_: Map) -> RowScores:
    """How many points an image and each of a map's M images both see (R, M), by rows of images; -inf where none."""
    seen = [np.unique(image.point_rows[image.point_rows != NO_POINT]) for image in map_.images]
    columns = np.concatenate(seen)
    rows = np.repeat(np.arange(len(seen)), [len(one) for one in seen])
    incidence = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(seen), len(map_.points)))

    def counts(of: Rows) -> Array:
        shared = np.asarray((incidence[of] @ incidence.T).todense())
        return np.where(shared > 0, shared, -np.inf)

    return counts


def _readme(map_: Map, folder_name: str, has_queries: bool, top_k: int) -> str:
    """The text beside the files: their description, and the calls of stock hloc that localize with them."""
    extractor = model_name(map_, "extractor")
    template = (files("visloc_ros.mapping") / "templates" / "hloc_readme.txt.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        map=map_,
        folder=folder_name,
        features=features_file_name(extractor),
        descriptors=global_file_name(model_name(map_, "global")) if len(map_.global_descriptors) else "",
        extractor=extractor,
        extractor_conf=hloc_extractor_conf(extractor),
        matcher_conf=hloc_matcher_conf(extractor),
        has_queries=has_queries,
        pairs=query_pairs_name(top_k) if has_queries else "pairs-queries.txt",
        queries=QUERY_LIST_NAME,
    )


def _refuse_taken(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()):
        raise OutputError(f"{output} is not empty: choose a new folder")


_EXTRACTOR_CONFS = {"aliked-n16": "aliked-n16", "disk": "disk", "superpoint": "superpoint_aachen"}
_LIGHTGLUE_FAMILIES = ("aliked", "disk", "superpoint")


def hloc_extractor_conf(extractor: str) -> str:
    """Python expression of the conf that makes hloc extract like ``extractor``; empty where hloc cannot."""
    if extractor.startswith("aliked-") and extractor not in _EXTRACTOR_CONFS:
        output = features_file_name(extractor).removesuffix(".h5")
        model, preprocessing = {"name": "aliked", "model_name": extractor}, {"resize_max": 1024}
        return repr({"output": output, "model": model, "preprocessing": preprocessing})
    conf = extractor.removeprefix(HLOC) if extractor.startswith(HLOC) else _EXTRACTOR_CONFS.get(extractor)
    return f"extract_features.confs[{conf!r}]" if conf else ""


def hloc_matcher_conf(extractor: str) -> str:
    """Python expression of the conf that matches such features in hloc: LightGlue where it has weights for them."""
    family = extractor.removeprefix(HLOC).replace("_", "-").split("-")[0]
    name = f"{family}+lightglue" if family in _LIGHTGLUE_FAMILIES else "NN-mutual"
    return f"match_features.confs[{name!r}]"
