"""What sparsification costs and saves: whole maps against sparse ones of the same reconstruction, on the real places.

Run: python -m benchmarks.mapping.map_size --data ../shared/data --markdown results/map_size.md

Each place is mapped once, whole; the code of a build makes the sparse maps from it. The same images with the same
features are searched in every map, alone and with a prediction, so differences are the map's. Times are those of this
thread, without the extraction of features. Maps and features are kept in the work folder.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.places import FeatureCache, Place, known_truth, real_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.corruptions import perturbed
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Map, open_map, save_map
from visloc_ros.core.map_layout import own_layout
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import SparsificationConfig
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.sources import SourceConfig, open_source

QUERIES = {
    "redkitchen": [SourceConfig(first=500, every=2)],
    "euroc": [SourceConfig(first=first, every=10) for first in (3, 5, 7)],
}
PREDICTION_ERROR = (0.1, 3.0)  # metres, degrees
WITHIN = (0.05, 5.0)
HEADER = (
    "place", "kB an image aimed at", "kB an image", "points", "found", "within 5 cm, 5°", "position error, median",
    "time (times that of everything)", "with a prediction",
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """An image to be found: its frame, a key for its features, its true pose and a prediction of it."""

    key: str
    frame: Frame
    truth: SE3
    prior: SE3


@dataclass(frozen=True)
class Errors:
    """Position errors (N,) in metres and rotation errors (N,) in degrees, NaN where nothing was found; times in ms."""

    position: np.ndarray
    rotation: np.ndarray
    milliseconds: np.ndarray


def main() -> None:
    """Measure all places and sizes, and write the table."""
    arguments = parse_arguments()
    places = {place.name: measure_place(place, arguments) for place in real_places(arguments.data)}
    report = {**provenance(), "places": places}
    body = table(HEADER, (table_row(name, row, rows[0]) for name, rows in places.items() for row in rows))
    write_outputs(arguments, "Full and sparse maps", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/map_size", "maps and features")
    parser.add_argument("--kilobytes", type=int, nargs="+", default=[75, 60, 45], help="targets for an image")
    parser.add_argument("--every", type=int, default=1, help="search every n-th image only")
    add_outputs(parser)
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> list[Figures]:
    """Figures of the full map, then of the sparse ones."""
    full = full_map(place, arguments.work)
    matcher = make_matcher()
    engine = AnchorEngine(open_map(full), extractor=make_extractor(), matcher=matcher)
    cache = FeatureCache(arguments.work / "features", engine)
    queries = list_queries(place)[:: arguments.every]
    rows: list[Figures] = []
    baseline: Errors | None = None
    for target in (0, *arguments.kilobytes):
        path = full if target == 0 else sparse_map(full, arguments.work, target)
        map_ = open_map(path)
        engine = AnchorEngine(map_, extractor=cache.engine.extractor, matcher=matcher)
        alone, predicted = (search(engine, queries, cache, with_prior=prior) for prior in (False, True))
        baseline = baseline or alone
        rows.append(size_of(map_, target) | figures(alone, baseline) | {"predicted": figures(predicted, alone)})
    return rows


def full_map(place: Place, work: Path) -> Path:
    """The place's map with every keypoint, built at the true poses if missing."""
    path = work / "maps" / place.name
    if not path.exists():
        source = open_source(place.map_folder, place.mapped)
        config = MappingConfig(sparsification=SparsificationConfig(target_kb=0.0))
        build_map(source, path, config, reference_poses=source.ground_truth)
    return path


def sparse_map(full: Path, work: Path, target: int) -> Path:
    """The sparse map of a full one, of so many kB an image."""
    path = work / "maps" / f"{full.name}_{target}"
    map_ = open_map(full)
    reconstruction = pycolmap.Reconstruction(own_layout(full).model)
    features = {image.name: image.features for image in map_.images}
    config = SparsificationConfig(target_kb=float(target), min_keypoints=100)
    sparse, kept = sparsify(reconstruction, features, map_.global_descriptors.shape[1], config)
    descriptors = {image.name: row for image, row in zip(map_.images, map_.global_descriptors, strict=True)}
    save_map(path, sparse, kept, descriptors, map_.vlad_centroids, map_.manifest, overwrite=True)
    return path


def list_queries(place: Place) -> list[Query]:
    """The images to be found, with their true poses."""
    rng = np.random.default_rng(0)
    queries = []
    for config in QUERIES[place.name]:
        source = open_source(place.query_folder, config)
        trajectory = known_truth(source)
        for frame in source:
            truth = trajectory.interpolate(frame.stamp_ns)
            if truth is None:
                continue
            prior = perturbed(truth, rng, *PREDICTION_ERROR)
            queries.append(Query(f"{place.name}/{frame.stamp_ns}", frame, truth, prior))
    return queries


def search(
    engine: AnchorEngine, queries: list[Query], features_of: Callable[[str, Frame], LocalFeatures], *, with_prior: bool
) -> Errors:
    """Find every image, and compare with the truth."""
    results = []
    for query in queries:
        features = features_of(query.key, query.frame)
        start = time.thread_time()
        result = engine.localize(query.frame, query.prior if with_prior else None, features)
        elapsed_ms = 1e3 * (time.thread_time() - start)
        results.append((*errors_of(result, query.truth), elapsed_ms))
    return Errors(*np.array(results).T)


def errors_of(result: AnchorPose | Rejection, truth: SE3) -> tuple[float, float]:
    """Position error in metres and rotation error in degrees, NaN where there is no pose."""
    if isinstance(result, Rejection):
        return np.nan, np.nan
    return position_error(result.map_from_camera, truth), rotation_error_deg(result.map_from_camera, truth)


def size_of(map_: Map, target: int) -> Figures:
    """Content and size of a map, without thumbnails and map card."""
    counts = map_.manifest.counts
    return {
        "target_kb": target,
        "kilobytes_per_image": sum(file.size for file in map_.manifest.files.values()) / 1e3 / counts["images"],
        "points": counts["points"],
    }


def figures(errors: Errors, baseline: Errors) -> Figures:
    """Accuracy, recall, and time beside that of the baseline."""
    good = (errors.position <= WITHIN[0]) & (errors.rotation <= WITHIN[1])
    return {
        "queries": len(errors.position),
        "found": int(np.sum(np.isfinite(errors.position))),
        "recall": float(np.mean(good)),
        "position_error_m": float(np.nanmedian(errors.position)),
        "mean_ms": float(np.mean(errors.milliseconds)),
        "time_ratio": float(np.sum(errors.milliseconds) / np.sum(baseline.milliseconds)),
    }


def table_row(place: str, row: Figures, full: Figures) -> list[str]:
    """One map's figures as text."""
    slower = row["predicted"]["mean_ms"] / full["predicted"]["mean_ms"]
    return [
        place,
        f"{row['target_kb']}" if row["target_kb"] else "everything",
        f"{row['kilobytes_per_image']:.0f}",
        f"{row['points']}",
        f"{row['found']} of {row['queries']}",
        f"{100 * row['recall']:.1f} %",
        f"{100 * row['position_error_m']:.2f} cm",
        f"{row['mean_ms']:.0f} ms ({row['time_ratio']:.2f})",
        f"{row['predicted']['mean_ms']:.0f} ms ({slower:.2f})",
    ]


if __name__ == "__main__":
    main()
