"""Runs searches on the same images in turn, and summarises them."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.results_file import Figures
from plugins.visloc_search.benchmarks.landmarks.queries import KnownImage
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation.metrics import pose_errors, recall
from visloc_ros.localization import AnchorEngine

THRESHOLDS = ((0.05, 5.0), (0.5, 5.0))


@dataclass(eq=False)
class Measured:
    """Of every image the pose that was found, the true one, and processor time."""

    poses: list[SE3 | None] = field(default_factory=list)
    truths: list[SE3] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, answer: AnchorPose | Rejection, truth: SE3, milliseconds: float) -> None:
        """Note an answer."""
        self.poses.append(answer.map_from_camera if isinstance(answer, AnchorPose) else None)
        self.truths.append(truth)
        self.milliseconds.append(milliseconds)

    def figures(self) -> Figures:
        """All of it as numbers; errors are medians of the images found, None where there are none."""
        errors = pose_errors(self.poses, self.truths)
        found = np.isfinite(errors[:, 0])
        position, rotation = np.median(errors[found], axis=0) if found.any() else (None, None)
        return {
            "images": len(found),
            "found": int(found.sum()),
            "recall_percent": [one.percent for one in recall(errors, len(errors), THRESHOLDS)],
            "position_m": position,
            "rotation_deg": rotation,
            "search_ms": float(np.median(self.milliseconds)),
            "search_p95_ms": float(np.percentile(self.milliseconds, 95)),
        }


def search_in_turn(engines: Mapping[str, AnchorEngine], images: Iterable[KnownImage]) -> dict[str, Measured]:
    """Search for every image with all engines, of which none is timed with its first search."""
    measured = {name: Measured() for name in engines}
    for number, image in enumerate(images):
        for name, engine in engines.items():
            if number == 0:
                engine.localize(image.frame, features=image.features)
            start = time.thread_time()
            answer = engine.localize(image.frame, features=image.features)
            measured[name].add(answer, image.truth, 1e3 * (time.thread_time() - start))
    return measured


def accuracy_cells(figures: Figures) -> list[str]:
    """Found, recalls, and the median error of the position, as cells of a table."""
    return [
        f"{figures['found']} of {figures['images']}",
        *(f"{percent:.1f} %" for percent in figures["recall_percent"]),
        number(figures["position_m"], "{:.2f}", 100.0),
    ]


ACCURACY_HEADER = (
    "found", *(f"within {metres:g} m, {degrees:g}°" for metres, degrees in THRESHOLDS), "position error, median cm",
)  # fmt: skip


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """A number as text, or a dash."""
    return "–" if value is None else form.format(factor * value)
