"""The queries: their features, extracted once, and their true poses."""

from dataclasses import dataclass

from benchmarks.places import FeatureCache, Place, all_queries, true_pose
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import Frame


@dataclass(frozen=True, eq=False)
class KnownImage:
    """An image to be found."""

    frame: Frame
    features: LocalFeatures
    truth: SE3


def known_images(place: Place, cache: FeatureCache, every: int = 1) -> list[KnownImage]:
    """Every n-th of the images that are searched for in a place."""
    place = all_queries(place)
    truth = place.truth()
    return [
        KnownImage(frame, cache(f"{place.name}/{frame.name}", frame), true_pose(truth, frame.stamp_ns))
        for frame in place.frames()[::every]
    ]
