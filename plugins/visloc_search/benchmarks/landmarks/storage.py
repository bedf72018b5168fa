"""Bytes of a map: as stock hloc would store it, as this package does, and what the search by landmarks needs of it."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pycolmap

from benchmarks.mapping.map_size import full_map
from benchmarks.places import Place
from benchmarks.results_file import Figures
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_layout import own_layout
from visloc_ros.evaluation.search_comparison import searched_bytes
from visloc_ros.localization.config import RETRIEVAL
from visloc_search.landmarks.config import LANDMARKS
from visloc_search.landmarks.recogniser import RECOGNISER_FILES

NETVLAD_LENGTH = 4096
WHAT_IS_COUNTED = (
    "In kB. Stock hloc: its files of keypoints, descriptors (half precision), NetVLAD and COLMAP's model; this "
    "package: the files that a search reads."
)


def hloc_bytes(place: Place, work: Path) -> dict[str, int]:
    """What stock hloc's files of the same map take: local features, global descriptors, model."""
    path = full_map(place, work / "full")
    map_ = open_map(path)
    with tempfile.TemporaryDirectory(prefix="visloc-storage-") as scratch:
        folder = Path(scratch)
        _write_features(folder / "features.h5", map_)
        _write_descriptors(folder / "global.h5", map_)
        (folder / "sfm").mkdir()
        pycolmap.Reconstruction(own_layout(path).model).write_binary(str(folder / "sfm"))
        return {
            "local features": (folder / "features.h5").stat().st_size,
            "global descriptors": (folder / "global.h5").stat().st_size,
            "model": sum(file.stat().st_size for file in (folder / "sfm").iterdir()),
        }


def _write_features(path: Path, map_: Map) -> None:
    """Local features as hloc's ``extract_features`` writes them, in half precision."""
    with h5py.File(path, "w", libver="latest") as file:
        for image in map_.images:
            group, features = file.create_group(image.name), image.features
            group["keypoints"] = (features.keypoints - HALF_PIXEL).astype(np.float16)
            group["keypoint_scores"] = features.scores.astype(np.float16)
            group["descriptors"] = np.asarray(features.descriptors, np.float16).T
            group["image_size"] = np.array(features.image_size)


def _write_descriptors(path: Path, map_: Map) -> None:
    """Global descriptors of NetVLAD's length as hloc writes them; their numbers do not matter."""
    with h5py.File(path, "w", libver="latest") as file:
        for image in map_.images:
            file.create_group(image.name)["global_descriptor"] = np.zeros(NETVLAD_LENGTH, np.float16)


def storage_figures(place: Place, map_: Map, work: Path) -> Figures:
    """Bytes of a prepared map by part, all ways."""
    landmarks = searched_bytes(map_, LANDMARKS)
    recogniser = sum(landmarks.pop(name, 0) for name in RECOGNISER_FILES)
    hloc = hloc_bytes(place, work)
    retrieval = searched_bytes(map_, RETRIEVAL)
    return {
        "hloc": hloc,
        "hloc_total": sum(hloc.values()),
        "retrieval": retrieval,
        "retrieval_total": sum(retrieval.values()),
        "landmarks": landmarks,
        "landmarks_total": sum(landmarks.values()),
        "recogniser": recogniser,
    }


STORAGE_HEADER = (
    "map", "landmarks recognised by", "stock hloc", "retrieval", "landmarks", "and their network", "saved beside hloc",
    "minutes to prepare",
)  # fmt: skip


def storage_row(name: str, recogniser_name: str, figures: Figures, minutes: float) -> list[str]:
    """One map's bytes in kB; what is saved is a share of what hloc takes."""
    own, recogniser, hloc = figures["landmarks_total"], figures["recogniser"], figures["hloc_total"]
    return [
        name,
        recogniser_name,
        *(f"{size / 1e3:,.0f}" for size in (hloc, figures["retrieval_total"], own, recogniser)),
        f"{saved_percent(own + recogniser, hloc):.1f} %",
        f"{minutes:.2f}",
    ]


def saved_percent(size: int, other: int) -> float:
    """How much less a size is than another one, in percent."""
    return 100.0 * (1.0 - size / other)
