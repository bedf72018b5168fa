"""Which words describe views of a street, measured: each photo is searched among the others, by VLAD.

Run: python -m plugins.visloc_geo.benchmarks.retrieval --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md

The photos are those of ``street_lund``; distances are by their GPS tags, whose error is some metres. "Words of the
package" are what ``visloc geo`` uses; the others are learned from the street itself, which a new database cannot have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from visloc_geo.adding import add_photos
from visloc_geo.database import GeoDatabase
from visloc_geo.descriptor_files import load_descriptors
from visloc_geo.features import MAX_KEYPOINTS, describe_globally, describe_locally, load_keypoints
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import distances_m
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.vlad import Vlad

STREET = "street_lund"
FIRST_VIEWS = 3


@dataclass(frozen=True)
class Recall:
    """How far the most similar view is away [m], and for which share of photos a view is near."""

    median_m: float
    p90_m: float
    first_within_25_m: float
    five_within_10_m: float

    @staticmethod
    def of(rows: NDArray[np.floating], distances: Array) -> "Recall":
        """Of unit vectors (N, G), each searched among the others, and their distances (N, N)."""
        similarity = rows @ rows.T
        np.fill_diagonal(similarity, -np.inf)
        return Recall.in_order(np.argsort(-similarity, axis=1, kind="stable"), distances)

    @staticmethod
    def in_order(order: NDArray[np.intp], distances: Array) -> "Recall":
        """Of the order (N, N) in which each photo gets the others."""
        sorted_m = np.take_along_axis(distances, order[:, :-1], axis=1)
        first, best_of_five = sorted_m[:, 0], sorted_m[:, :5].min(axis=1)
        within = (float(np.mean(first <= 25.0)), float(np.mean(best_of_five <= 10.0)))
        return Recall(float(np.median(first)), float(np.percentile(first, 90)), *within)


def main() -> None:
    """Describe the street, search it, write the table."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo_retrieval", "databases")
    add_outputs(parser)
    arguments = parser.parse_args()
    street = described(arguments.work / "aliked", arguments.data / STREET, FeatureConfig(max_keypoints=MAX_KEYPOINTS))
    by_sift = described(
        arguments.work / "sift", arguments.data / STREET, FeatureConfig(name="sift", max_keypoints=MAX_KEYPOINTS)
    )
    figures = measured(street, by_sift)
    report = provenance() | {"recall": {name: vars(recall) for name, recall in figures.items()}}
    write_outputs(arguments, "Words of views", report, recall_table(figures))


def described(folder: Path, photos: Path, config: FeatureConfig) -> GeoDatabase:
    """The street as a database, with the global descriptors of ``visloc geo``."""
    database = GeoDatabase.create(folder)
    add_photos(database, [photos])
    describe_locally(database, config)
    describe_globally(database)
    return database


def measured(street: GeoDatabase, by_sift: GeoDatabase) -> Mapping[str, Recall]:
    """Recall by the words' origin."""
    names, rows = load_descriptors(street)
    features = [load_keypoints(street, name) for name in names]
    distances = apart(street)
    nearest = distances + np.diag(np.full(len(names), np.inf))
    return {
        "nearest view (the best possible)": Recall.in_order(np.argsort(nearest, axis=1, kind="stable"), distances),
        "words of the package": Recall.of(rows, distances),
        "words of the street": Recall.of(by_own_words(features, features), distances),
        f"words of its first {FIRST_VIEWS} views": Recall.of(by_own_words(features[:FIRST_VIEWS], features), distances),
        "SIFT, words of the street": Recall.of(load_descriptors(by_sift)[1], distances),
    }


def by_own_words(views: Iterable[LocalFeatures], features: Iterable[LocalFeatures]) -> NDArray[np.float32]:
    """Descriptors (N, G) by words learned from some views."""
    vlad = Vlad.train(view.descriptors for view in views)
    return np.stack([vlad.describe_features(one) for one in features])


def apart(database: GeoDatabase) -> Array:
    """Distances (N, N) between all views in metres."""
    places = np.array([(one.position.latitude, one.position.longitude) for one in database if one.position])
    return np.stack([distances_m(places, latitude, longitude) for latitude, longitude in places])


def recall_table(figures: Mapping[str, Recall]) -> str:
    """A row for each kind of words."""
    header = ("", "most similar view, median", "90 %", "it within 25 m", "one of five within 10 m")
    return table(
        header,
        (
            (
                name,
                f"{one.median_m:.1f} m",
                f"{one.p90_m:.1f} m",
                f"{100 * one.first_within_25_m:.0f} %",
                f"{100 * one.five_within_10_m:.0f} %",
            )
            for name, one in figures.items()
        ),
    )


if __name__ == "__main__":
    main()
